"""An operator of NATS with one account, who writes ``.creds`` files for its users.

The JWTs are made by hand, with what the package nkeys has of the keys: a token's body names its
issuer, and is signed by the issuer's key.
"""

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import nkeys

CREDS = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


_ISSUED = 1_600_000_000  # seconds since 1970


class Key:
    """A key pair of NATS.

    Attributes:
        seed: The private key, as text.
        public: The public key, as text.
    """

    def __init__(self, kind: int) -> None:
        """Make a pair.

        Args:
            kind: The prefix of its kind, as of nkeys.
        """
        seed = nkeys.encode_seed(secrets.token_bytes(32), kind)
        self.seed: str = seed.decode()
        self._pair = nkeys.from_seed(seed)
        self.public: str = self._pair.public_key.decode()

    def signed(self, subject: str, name: str, claims: dict[str, Any], **times: int) -> str:
        """Return a JWT that this key has issued.

        Args:
            subject: The public key of whom it is about.
            name: The name.
            claims: What is said, without the version.
            times: Further claims, such as when it expires.
        """
        body = {
            "iat": _ISSUED,
            "iss": self.public,
            "name": name,
            "sub": subject,
            "nats": {**claims, "version": 2},
            **times,
        }
        body["jti"] = base64.b32encode(hashlib.sha256(_json(body)).digest()).decode().rstrip("=")
        text = ".".join(map(_base64, (_json({"typ": "JWT", "alg": "ed25519-nkey"}), _json(body))))
        return f"{text}.{_base64(self._pair.sign(text.encode()))}"


class Operator:
    """An operator, whose server knows one account from its configuration."""

    def __init__(self) -> None:
        """Make the keys of the operator, of the account, and of an account of the system."""
        self._key = Key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = Key(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = Key(nkeys.PREFIX_BYTE_ACCOUNT)

    @property
    def config(self) -> str:
        """The part of a server's configuration, in place of ``authorization``."""
        own = self._key.signed(
            self._key.public,
            "operator",
            {"type": "operator", "system_account": self._system.public},
        )
        unlimited = dict.fromkeys(
            ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "streams"), -1
        )
        storage = {"mem_storage": -1, "disk_storage": -1, "consumer": -1}
        limits = {**unlimited, **storage, "wildcards": True}
        accounts = {
            key.public: self._key.signed(
                key.public, name, {"type": "account", "limits": limits if is_storing else unlimited}
            )
            for key, name, is_storing in (
                (self._account, "relays", True),
                (self._system, "system", False),
            )
        }
        preloaded = "\n".join(f"  {public}: {jwt}" for public, jwt in accounts.items())
        return (
            f"operator: {own}\n"
            f"system_account: {self._system.public}\n"
            f"resolver: MEMORY\nresolver_preload: {{\n{preloaded}\n}}\n"
        )

    def write_creds(
        self, path: Path, permissions: dict[str, Any] | None = None, *, expires: int | None = None
    ) -> Path:
        """Write the file of a new user, and return its path.

        Args:
            path: The path.
            permissions: Its ``pub`` and ``sub``; None for all.
            expires: When its token expires, in seconds since 1970; None for never.
        """
        user = Key(nkeys.PREFIX_BYTE_USER)
        claims = {"type": "user", "subs": -1, "data": -1, "payload": -1, **(permissions or {})}
        times = {} if expires is None else {"exp": expires}
        jwt = self._account.signed(user.public, path.stem, claims, **times)
        path.write_text(CREDS.format(jwt=jwt, seed=user.seed))
        return path


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
