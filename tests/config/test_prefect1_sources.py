"""URL, key and tenant of a Prefect 1 installation, found as its own client finds them."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from prefect1_installation import (
    ACME,
    AUTH,
    BACKEND,
    CLOUD,
    CONFIG,
    EMCA,
    LOCAL,
    LOGINS,
    SERVER,
    UrlKeyTenant,
    url_key_tenant,
)
from prefect_installation import Installation

from rxflow._models.entities import BackendName

SETTINGS_SCRIPT = Path(__file__).parents[1] / "support" / "prefect1_scripts" / "settings.py"

# Files, environment, and what is found in them; "@/" in a variable is the root of home and cwd.
FINDINGS: dict[str, tuple[dict[str, str], dict[str, str], UrlKeyTenant]] = {
    "nothing is set": ({}, {}, (CLOUD, None, None)),
    "a server": ({}, {"PREFECT__BACKEND": "server"}, (LOCAL, None, None)),
    "by `prefect backend server`": ({BACKEND: SERVER}, {}, (LOCAL, None, None)),
    "in config.toml": ({CONFIG: SERVER}, {}, (LOCAL, None, None)),
    "backend.toml over config.toml": (
        {CONFIG: SERVER, BACKEND: 'backend = "cloud"'},
        {},
        (CLOUD, None, None),
    ),
    "the environment over files": (
        {BACKEND: SERVER},
        {"PREFECT__BACKEND": "cloud"},
        (CLOUD, None, None),
    ),
    "host and port": (
        {BACKEND: SERVER, CONFIG: "[server]\nport = 4321"},
        {"PREFECT__SERVER__HOST": "http://h.example"},
        ("http://h.example:4321", None, None),
    ),
    "an endpoint": (
        {},
        {"PREFECT__BACKEND": "server", "PREFECT__SERVER__ENDPOINT": "https://s.example/x/"},
        ("https://s.example/x", None, None),
    ),
    "a host without the backend": (
        {},
        {"PREFECT__SERVER__HOST": "http://h.example"},
        (CLOUD, None, None),
    ),
    "Cloud's endpoint": (
        {CONFIG: '[cloud]\nendpoint = "https://c.example"'},
        {},
        ("https://c.example", None, None),
    ),
    "the API over the endpoint": (
        {BACKEND: SERVER},
        {"PREFECT__CLOUD__API": "https://a.example", "PREFECT__SERVER__PORT": "1"},
        ("https://a.example", None, None),
    ),
    "key and tenant": (
        {CONFIG: '[cloud]\napi_key = "file"'},
        {"PREFECT__CLOUD__API_KEY": "k", "PREFECT__CLOUD__TENANT_ID": ACME.upper()},
        (CLOUD, "k", ACME),
    ),
    "an empty variable hides the file": (
        {CONFIG: '[cloud]\napi_key = "file"', AUTH: LOGINS},
        {"PREFECT__CLOUD__API_KEY": ""},
        (CLOUD, "saved", ACME),
    ),
    "tokens are not keys": (
        {CONFIG: '[cloud]\nauth_token = "t"\n[cloud.agent]\nauth_token = "t"'},
        {"PREFECT__CLOUD__AUTH_TOKEN": "t"},
        (CLOUD, None, None),
    ),
    "a login": ({AUTH: LOGINS}, {}, (CLOUD, "saved", ACME)),
    "a login, other capitals": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__API": "https://API.Prefect.io/graphql"},
        ("https://API.Prefect.io/graphql", "saved", ACME),
    ),
    "a login at another server": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__API": "https://my_host.example:8080"},
        ("https://my_host.example:8080", "other", None),
    ),
    "no login there": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__API": "https://elsewhere.example"},
        ("https://elsewhere.example", None, None),
    ),
    "a key over that of the login": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__API_KEY": "k"},
        (CLOUD, "k", ACME),
    ),
    "a tenant over that of the login": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__TENANT_ID": EMCA},
        (CLOUD, "saved", EMCA),
    ),
    "a custom home directory has the logins": (
        {"home/else/auth.toml": LOGINS, "home/else/config.toml": SERVER},
        {"PREFECT__HOME_DIR": "~/else"},
        (CLOUD, "saved", ACME),
    ),
    "a home directory set in config.toml": (
        {CONFIG: 'home_dir = "$ELSE"', "home/else/auth.toml": LOGINS},
        {"ELSE": "~/else"},
        (CLOUD, "saved", ACME),
    ),
    "a relative home directory": (
        {"cwd/else/auth.toml": LOGINS},
        {"PREFECT__HOME_DIR": "else"},
        (CLOUD, "saved", ACME),
    ),
    "config.toml elsewhere": (
        {"home/my.toml": SERVER, CONFIG: 'backend = "cloud"'},
        {"PREFECT__USER_CONFIG_PATH": "~/my.toml"},
        (LOCAL, None, None),
    ),
    "config.toml excluded": (
        {CONFIG: SERVER},
        {"PREFECT__USER_CONFIG_PATH": ""},
        (CLOUD, None, None),
    ),
    "backend.toml elsewhere": (
        {"my.toml": SERVER},
        {"PREFECT__BACKEND_CONFIG_PATH": "@/my.toml"},
        (LOCAL, None, None),
    ),
    "a lower-case name": ({}, {"PREFECT__backend": "server"}, (LOCAL, None, None)),
    "a lower-case prefix": ({}, {"prefect__backend": "server"}, (CLOUD, None, None)),
    "variables in values": (
        {CONFIG: '[cloud]\napi_key = "$K-${NO}"'},
        {"K": "${L}", "L": "k", "PREFECT__CLOUD__API": "https://$L.example"},
        ("https://k.example", "k-", None),
    ),
    "variables that name each other": (
        {CONFIG: '[cloud]\napi_key = "$K"', AUTH: LOGINS},
        {"K": "$L", "L": "$K"},
        (CLOUD, "saved", ACME),
    ),
    "an unknown variable stays": (
        {CONFIG: '[cloud]\napi_key = "k$NO"'},
        {},
        (CLOUD, "k$NO", None),
    ),
    "references": (
        {CONFIG: '[my]\nhost = "${my.name}.example"\nname = "m"\n[cloud]\napi="${my.url}"'},
        {"PREFECT__MY__URL": "https://${my.host}:${server.host_port}${no.such}"},
        ("https://m.example:4200", None, None),
    ),
    "a custom table as backend": (
        {CONFIG: 'backend = "mine"\n[mine]\nendpoint = "http://mine.example"'},
        {},
        ("http://mine.example", None, None),
    ),
    "quotes are removed": (
        {CONFIG: "[cloud]\napi_key = \"'quoted'\""},
        {"PREFECT__BACKEND": '"server"'},
        (LOCAL, "quoted", None),
    ),
    "literals of numbers are evaluated": (
        {},
        {"PREFECT__CLOUD__API_KEY": "1_0", "PREFECT__CLOUD__API": "http://h:${my.p}"}
        | {"PREFECT__MY__P": "0x10"},
        ("http://h:16", "10", None),
    ),
    "leading zeros are text": (
        {},
        {"PREFECT__CLOUD__API_KEY": "007"},
        (CLOUD, "007", None),
    ),
    "False sets nothing": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__API_KEY": "false", "PREFECT__CLOUD__TENANT_ID": "None"},
        (CLOUD, "saved", ACME),
    ),
    "a reference to False sets nothing": (
        {AUTH: LOGINS, CONFIG: '[cloud]\napi_key = "${my.key}"\n[my]\nkey = false'},
        {},
        (CLOUD, "saved", ACME),
    ),
    "a key for a server": (
        {AUTH: LOGINS},
        {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__TENANT_ID": EMCA},
        (LOCAL, "mine", EMCA),
    ),
}


@pytest.mark.parametrize(("files", "environ", "expected"), FINDINGS.values(), ids=list(FINDINGS))
def test_url_key_and_tenant_are_found_as_by_prefect_1(
    tmp_path: Path, files: Mapping[str, str], environ: Mapping[str, str], expected: UrlKeyTenant
) -> None:
    """URL, key and tenant are found by the rules of Prefect 1's client."""
    settings = Installation(tmp_path, files).load(environ, backend="prefect1")
    assert url_key_tenant(settings) == expected
    assert settings.backend is BackendName.PREFECT_1


@pytest.mark.timeout(120)
def test_the_client_of_prefect_1_finds_the_same(client_python: str, tmp_path: Path) -> None:
    """The unmodified client of Prefect 1 finds what the table above says."""
    lines = []
    for number, (files, environ, _) in enumerate(FINDINGS.values()):
        home = Installation(tmp_path / str(number), files)
        variables = {name: text.replace("@/", f"{home.root}/") for name, text in environ.items()}
        lines.append(
            json.dumps({"home": str(home.home), "cwd": str(home.cwd), "environ": variables})
        )
    done = subprocess.run(
        [client_python, "-W", "ignore", str(SETTINGS_SCRIPT)],
        input="\n".join(lines),
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    outputs = [json.loads(line) for line in done.stdout.splitlines()]
    found = [(url.rstrip("/"), key and str(key), tenant) for url, key, tenant in outputs]
    expected = {name: finding for name, (*_, finding) in FINDINGS.items()}
    assert dict(zip(FINDINGS, found, strict=True)) == expected


@pytest.mark.parametrize(
    ("files", "environ", "message"),
    [
        ({}, {"PREFECT__BACKEND": "sever"}, "PREFECT__BACKEND in the environment must be cloud or"),
        ({BACKEND: 'backend = ""'}, {}, "backend in @/.prefect/backend.toml must be cloud or"),
        ({}, {"PREFECT__CLOUD__TENANT_ID": "acme"}, "PREFECT__CLOUD__TENANT_ID in the environment"),
        ({AUTH: '["api.prefect.io"]\ntenant_id = "x"'}, {}, "tenant_id in @/.prefect/auth"),
        ({}, {"PREFECT__CLOUD__API": "api.prefect.io"}, "PREFECT__CLOUD__API in the environment"),
        ({CONFIG: "backend = x"}, {}, "@/.prefect/config.toml is not valid TOML (at line 1,"),
        ({AUTH: "x"}, {}, "@/.prefect/auth.toml is not valid TOML"),
    ],
)
def test_an_unusable_value_is_rejected(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], message: str
) -> None:
    """The error names the origin of the value that cannot be used."""
    bare.write_all(files)
    assert bare.error(environ, backend="prefect1").startswith(message.replace("@", str(bare.home)))


def test_a_malformed_login_is_ignored(bare: Installation) -> None:
    """An entry of auth.toml that is not a table of key and tenant is not used."""
    for text in ('"api.prefect.io" = 1', "[api.prefect.io]\napi_key = 'k'", "['api.prefect.io']"):
        bare.write(AUTH, text)
        assert url_key_tenant(bare.load(backend="prefect1")) == (CLOUD, None, None)


def test_an_excluded_file_is_not_listed(bare: Installation) -> None:
    """A config.toml that a variable excludes is missing from the list of sources."""
    environ = {"PREFECT__USER_CONFIG_PATH": "", "PREFECT__BACKEND_CONFIG_PATH": "~/b.toml"}
    message = bare.error(environ)
    assert message.count("backend, server and cloud in ") == 1
    assert f"backend, server and cloud in {bare.home}/b.toml: no such file" in message
