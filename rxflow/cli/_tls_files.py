"""A TLS context from the files that a command line names: authorities, a certificate, its key."""

import ssl
from pathlib import Path
from typing import NoReturn

import click

__all__ = ["tls_context"]


def tls_context(
    authorities: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext | None:
    """Return how a broker's certificate is verified, and which one it is shown.

    Args:
        authorities: The file of the authorities to trust; None for those of the system.
        certificate: The file of the certificate to show, its chain included; None for none.
        key: The file of its key.

    Returns:
        None if no file is given.

    Raises:
        click.UsageError: A file cannot be read, or the certificate and the key do not belong
            together.
    """
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together; pass both.")
    if authorities is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise _unusable("--tls-ca", authorities, error, "certificates in PEM format") from error
    if certificate is None:
        return context
    try:
        context.load_cert_chain(certificate, key, _refuse_to_decrypt)
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise click.UsageError(
                f"--tls-key '{key}' is not the key of --tls-cert '{certificate}'."
            ) from error
        what = f"a certificate, or --tls-key '{key}' not its key, in PEM format"
        raise _unusable("--tls-cert", certificate, error, what) from error
    return context


def _unusable(option: str, path: Path | None, error: OSError, what: str) -> click.UsageError:
    """Return the error of a file that is not there, or is of another kind."""
    if isinstance(error, ssl.SSLError):
        return click.UsageError(f"{option} '{path}' is not {what}.")
    return click.UsageError(f"{option} '{path}' cannot be read: {error.strerror}.")


def _refuse_to_decrypt() -> NoReturn:
    """Refuse an encrypted key, whose password OpenSSL would read from the terminal."""
    raise click.UsageError("The key of --tls-key is encrypted; pass a file with the decrypted key.")
