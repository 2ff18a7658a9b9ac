"""Which errors of TLS are about a certificate, so that connecting again leads to the same."""

import ssl
from typing import Final

_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA")  # in the names of what a server sends


def certificate_error(error: BaseException | None) -> str | None:
    """Return what is wrong with the broker's certificate, or with the one it was shown.

    Args:
        error: An error of a connection; its causes are looked at, too.

    Returns:
        A sentence without a subject's name; None if the error is about something else.
    """
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message}"
        if isinstance(error, ssl.SSLError) and any(each in str(error.reason) for each in _ALERTS):
            alert = str(error.reason).partition("ALERT_")[2].lower().replace("_", " ")
            return f"it requires a certificate, and refuses this one or none: {alert}"
        error = error.__cause__ or error.__context__
    return None
