"""The files of a Prefect 1 installation, and the URL, key and tenant that were found in one."""

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings

CONFIG, BACKEND, AUTH = (f"home/.prefect/{name}.toml" for name in ("config", "backend", "auth"))
CLOUD, LOCAL = "https://api.prefect.io", "http://localhost:4200"
ACME, EMCA = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "ab")
SERVER = 'backend = "server"\n'
LOGINS = f"""
["api.prefect.io"]
api_key = "saved"
tenant_id = "{ACME}"

["my-host.example-8080"]
api_key = "other"

[localhost-4200]
api_key = "mine"
"""

UrlKeyTenant = tuple[str, str | None, str | None]


def url_key_tenant(settings: Settings) -> UrlKeyTenant:
    """Return the URL and the revealed key and tenant."""
    return settings.api_url, _reveal(settings.api_key), _reveal(settings.tenant_id)


def _reveal(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
