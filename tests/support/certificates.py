"""Certificates of an authority that no system trusts."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority.

    Attributes:
        file: The file that makes a client trust it.
    """

    def __init__(self, folder: Path) -> None:
        """Make the keys, and write the file to a folder."""
        self._ca = trustme.CA()
        self.file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def server_files(self, folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
        """Write the certificates and the key of a server with this name to a folder."""
        issued = self._ca.issue_cert(name)
        chain, key = folder / "server.pem", folder / "server.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return chain, key

    def client_context(self) -> ssl.SSLContext:
        """Make the TLS context of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.file)

    def server_context(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        """Make the TLS context of a server with this name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context
