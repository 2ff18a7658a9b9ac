"""Which errors of TLS are about a certificate, so that connecting again leads to the same."""

import ssl
from typing import Final, NamedTuple

_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA")  # in the names of what a server sends


class CertificateError(NamedTuple):
    """What is wrong with a certificate.

    Attributes:
        text: A sentence without a subject's name.
        is_own: Whether it is the certificate that the broker was shown, or should have been.
    """

    text: str
    is_own: bool


def certificate_error(error: BaseException | None) -> CertificateError | None:
    """Return what is wrong with the broker's certificate, or with the one it was shown.

    Args:
        error: An error of a connection; its causes are looked at, too.

    Returns:
        What is wrong; None if the error is about something else.
    """
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return CertificateError(
                f"its certificate is not trusted: {error.verify_message}", is_own=False
            )
        if isinstance(error, ssl.SSLError) and any(each in str(error.reason) for each in _ALERTS):
            alert = str(error.reason).partition("ALERT_")[2].lower().replace("_", " ")
            text = f"it requires a certificate, and refuses this one or none: {alert}"
            return CertificateError(text, is_own=True)
        error = error.__cause__ or error.__context__
    return None
