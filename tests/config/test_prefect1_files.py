"""Prefect 1's settings: found as its client finds them, and only where they are wanted."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_installation import MARK, Installation, everything_told_of

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName
from rxflow._net.http_clients import build_http_client

TESTS = Path(__file__).parents[1]
CONFIG, BACKEND, AUTH = (f"home/.prefect/{name}.toml" for name in ("config", "backend", "auth"))
CLOUD, LOCAL = "https://api.prefect.io", "http://localhost:4200"
ACME, EMCA = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "ab")
LOGINS = f"""
["api.prefect.io"]
api_key = "saved"
tenant_id = "{ACME}"

["my-host.example-8080"]
api_key = "other"

[localhost-4200]
api_key = "mine"
"""
SERVER = 'backend = "server"\n'

Found = tuple[str, str | None, str | None]


def told(settings: Settings) -> Found:
    """URL, key and tenant."""
    return settings.api_url, revealed(settings.api_key), revealed(settings.tenant_id)


def revealed(secret: Secret | None) -> str | None:
    """What is hidden, if anything."""
    return None if secret is None else secret.reveal()


def prefect1(root: Path, files: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Load the settings of an installation that is said to be Prefect 1's."""
    return Installation(root, files).load(environ, backend="prefect1")


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    """Nothing is set anywhere."""
    return Installation(tmp_path)


# --- as its client finds them ---------------------------------------------------------------------

# Files, environment, and what comes of them; "@/" in a variable is the root of home and cwd.
FINDINGS: dict[str, tuple[dict[str, str], dict[str, str], Found]] = {
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
    "the API over all": (
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
    "a home of its own has the logins": (
        {"home/else/auth.toml": LOGINS, "home/else/config.toml": SERVER},
        {"PREFECT__HOME_DIR": "~/else"},
        (CLOUD, "saved", ACME),
    ),
    "a home that config.toml names": (
        {CONFIG: 'home_dir = "$ELSE"', "home/else/auth.toml": LOGINS},
        {"ELSE": "~/else"},
        (CLOUD, "saved", ACME),
    ),
    "a home below the working directory": (
        {"cwd/else/auth.toml": LOGINS},
        {"PREFECT__HOME_DIR": "else"},
        (CLOUD, "saved", ACME),
    ),
    "config.toml elsewhere": (
        {"home/my.toml": SERVER, CONFIG: 'backend = "cloud"'},
        {"PREFECT__USER_CONFIG_PATH": "~/my.toml"},
        (LOCAL, None, None),
    ),
    "config.toml nowhere": (
        {CONFIG: SERVER},
        {"PREFECT__USER_CONFIG_PATH": ""},
        (CLOUD, None, None),
    ),
    "backend.toml elsewhere": (
        {"my.toml": SERVER},
        {"PREFECT__BACKEND_CONFIG_PATH": "@/my.toml"},
        (LOCAL, None, None),
    ),
    "a small name": ({}, {"PREFECT__backend": "server"}, (LOCAL, None, None)),
    "a small prefix": ({}, {"prefect__backend": "server"}, (CLOUD, None, None)),
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
    "a table of one's own as backend": (
        {CONFIG: 'backend = "mine"\n[mine]\nendpoint = "http://mine.example"'},
        {},
        ("http://mine.example", None, None),
    ),
    "quotes are taken off": (
        {CONFIG: "[cloud]\napi_key = \"'quoted'\""},
        {"PREFECT__BACKEND": '"server"'},
        (LOCAL, "quoted", None),
    ),
    "numbers are numbers": (
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
    "False is nothing": (
        {AUTH: LOGINS},
        {"PREFECT__CLOUD__API_KEY": "false", "PREFECT__CLOUD__TENANT_ID": "None"},
        (CLOUD, "saved", ACME),
    ),
    "nothing by reference": (
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
def test_findings(
    tmp_path: Path, files: Mapping[str, str], environ: Mapping[str, str], expected: Found
) -> None:
    """URL, key and tenant are found by the rules of Prefect 1's client."""
    settings = prefect1(tmp_path, files, environ)
    assert told(settings) == expected
    assert settings.backend is BackendName.PREFECT_1


@pytest.mark.timeout(120)
def test_the_client_of_prefect_1_finds_the_same(client_python: str, tmp_path: Path) -> None:
    """The table above is what the unmodified client makes of these files and environments."""
    lines = []
    for number, (files, environ, _) in enumerate(FINDINGS.values()):
        home = Installation(tmp_path / str(number), files)
        variables = {name: text.replace("@/", f"{home.root}/") for name, text in environ.items()}
        lines.append(
            json.dumps({"home": str(home.home), "cwd": str(home.cwd), "environ": variables})
        )
    done = subprocess.run(
        [
            client_python,
            "-W",
            "ignore",
            str(TESTS / "support" / "prefect1_scripts" / "settings.py"),
        ],
        input="\n".join(lines),
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    found = [(url.rstrip("/"), key and str(key), tenant) for url, key, tenant in answers]
    expected = {name: finding for name, (*_, finding) in FINDINGS.items()}
    assert dict(zip(FINDINGS, found, strict=True)) == expected


@pytest.mark.parametrize(
    ("files", "environ", "origin"),
    [
        ({}, {}, "the default of Prefect 1"),
        ({}, {"PREFECT__BACKEND": "server"}, "PREFECT__BACKEND in the environment"),
        (
            {CONFIG: '[server]\nhost = "http://h"'},
            {"PREFECT__BACKEND": "server", "PREFECT__SERVER__PORT": "1"},
            (
                "PREFECT__BACKEND in the environment and server.host in @/.prefect/config.toml "
                "and PREFECT__SERVER__PORT in the environment"
            ),
        ),
        (
            {CONFIG: '[cloud]\napi = "http://${my.host}"\n[my]\nhost = "h"'},
            {},
            "cloud.api in @/.prefect/config.toml and my.host in @/.prefect/config.toml",
        ),
    ],
)
def test_a_url_names_every_place_it_comes_from(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], origin: str
) -> None:
    """The origin of the URL is all that was set of what it is made of."""
    for name, text in files.items():
        bare.write(name, text)
    found = bare.load(environ, backend="prefect1")
    assert found.origin == origin.replace("@", str(bare.home))


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
def test_what_leads_nowhere_is_refused(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], message: str
) -> None:
    """An error names the place of what cannot be used."""
    for name, text in files.items():
        bare.write(name, text)
    assert bare.fails(environ, backend="prefect1").startswith(message.replace("@", str(bare.home)))


def test_an_api_of_nothing_is_no_url(bare: Installation) -> None:
    """A URL that is set to nothing is missing, and the error speaks of Prefect 1 alone."""
    bare.write(CONFIG, "")
    lines = bare.fails({"PREFECT__CLOUD__API": ""}, backend="prefect1").splitlines()
    assert lines[1:-1] == [
        "  - the argument api_url: not given",
        "  - RXFLOW_API_URL in the environment: not set",
        "  - PREFECT__CLOUD__API in the environment: empty, which hides all later sources",
    ]
    assert "http://localhost:4200" in lines[-1]


def test_a_login_that_is_none(bare: Installation) -> None:
    """What stands under a server's name but is no table of key and tenant is nobody's login."""
    for text in ('"api.prefect.io" = 1', "[api.prefect.io]\napi_key = 'k'", "['api.prefect.io']"):
        bare.write(AUTH, text)
        assert told(bare.load(backend="prefect1")) == (CLOUD, None, None)


def test_what_is_not_needed_may_be_nonsense(bare: Installation) -> None:
    """A value of which nothing is made stops nobody."""
    bare.write(CONFIG, '[my]\nuser = "~\\u0000"\ncircle = "$X"\nnumber = 0x0')
    assert told(bare.load({"X": "-$X"}, backend="prefect1")) == (CLOUD, None, None)
    settings = bare.load({"PREFECT__BACKEND": "nosuch"}, backend="prefect1", api_url=LOCAL)
    assert told(settings) == (LOCAL, None, None)


def test_a_file_that_is_ruled_out_is_not_listed(bare: Installation) -> None:
    """Where a variable says that there is no config.toml, none was looked for."""
    environ = {"PREFECT__USER_CONFIG_PATH": "", "PREFECT__BACKEND_CONFIG_PATH": "~/b.toml"}
    message = bare.fails(environ)
    assert message.count("backend, server and cloud in ") == 1
    assert f"backend, server and cloud in {bare.home}/b.toml: no such file" in message


# --- what is said to rxflow comes first -----------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        pytest.param({"RXFLOW_API_URL": LOCAL}, {}, (LOCAL, "mine", None), id="RXFLOW's URL"),
        pytest.param(
            {"RXFLOW_API_URL": LOCAL}, {"api_url": CLOUD}, (CLOUD, "saved", ACME), id="a URL"
        ),
        pytest.param(
            {}, {"api_url": "https://e.example"}, ("https://e.example", None, None), id="a stranger"
        ),
        pytest.param(
            {"PREFECT__CLOUD__API_KEY": "k", "PREFECT__CLOUD__API": LOCAL},
            {"api_url": "https://e.example"},
            ("https://e.example", "k", None),
            id="the environment's key to a stranger",
        ),
        pytest.param({"RXFLOW_API_KEY": "k"}, {}, (CLOUD, "k", None), id="RXFLOW's key"),
        pytest.param(
            {"RXFLOW_API_KEY": "k"}, {"api_key": "mine"}, (CLOUD, "mine", None), id="a key"
        ),
        pytest.param({}, {"tenant_id": EMCA}, (CLOUD, "saved", EMCA), id="a tenant"),
        pytest.param(
            {}, {"api_key": "k", "tenant_id": EMCA}, (CLOUD, "k", EMCA), id="a key and a tenant"
        ),
        pytest.param({}, {"api_key": ""}, (CLOUD, None, None), id="no key"),
    ],
)
def test_arguments_and_own_variables_come_first(
    bare: Installation,
    environ: Mapping[str, str],
    arguments: Mapping[str, Any],
    expected: Found,
) -> None:
    """They outrank Prefect 1's settings; a URL among them gets the key that names its server."""
    bare.write(AUTH, LOGINS)
    bare.write(CONFIG, '[cloud]\nendpoint = "https://api.prefect.io/"')
    assert told(bare.load(environ, backend="prefect1", **arguments)) == expected


def test_a_url_of_ones_own_reads_no_file_but_the_logins(bare: Installation) -> None:
    """A file that may speak of another server is not read, whatever is in it."""
    bare.write(CONFIG, "broken [")
    bare.write(BACKEND, "broken [")
    bare.write(AUTH, LOGINS)
    settings = bare.load({"RXFLOW_BACKEND": "prefect1"}, api_url=LOCAL)
    assert told(settings) == (LOCAL, "mine", None)


def test_a_login_is_not_for_whoever_is_not_said_to_be_prefect_1(bare: Installation) -> None:
    """Where nobody says what the server is, a URL from outside gets no key of Prefect 1's."""
    bare.write(AUTH, LOGINS)
    environ = {"PREFECT__CLOUD__API_KEY": "k"}
    for backend in (None, "prefect3"):
        assert told(bare.load(environ, api_url=LOCAL, backend=backend)) == (LOCAL, None, None)


def test_prefect_3_has_no_say(bare: Installation) -> None:
    """Where the backend is Prefect 1, neither URL nor credentials come from Prefect 3's places."""
    bare.write("cwd/.env", "PREFECT_API_AUTH_STRING=a:b")
    bare.write("home/.prefect/profiles.toml", "broken [")
    environ = {"PREFECT_API_URL": "http://three/api", "PREFECT_API_KEY": "three"}
    settings = bare.load({**environ, "RXFLOW_BACKEND": "prefect1", "RXFLOW_PROFILE": "x"})
    assert told(settings) == (CLOUD, None, None)
    assert settings.authorization() is None


def test_prefect_1_has_no_profiles(bare: Installation) -> None:
    """A profile asked for beside Prefect 1 is refused, for it would be ignored."""
    message = bare.fails(backend="prefect1", profile="local")
    assert message == (
        "the argument backend is prefect1, which has no profiles: give no argument profile."
    )
    assert bare.fails({"RXFLOW_BACKEND": "prefect1"}, profile="x").startswith("RXFLOW_BACKEND in")
    assert bare.load(backend="prefect3", profile="local").backend is BackendName.PREFECT_3


# --- where nobody says what the server is ---------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "environ", "url"),
    [
        ({}, {"PREFECT__BACKEND": "server"}, LOCAL),
        ({}, {"PREFECT__BACKEND": "cloud"}, CLOUD),
        ({BACKEND: SERVER}, {}, LOCAL),
        ({CONFIG: 'backend = "cloud"'}, {}, CLOUD),
        ({}, {"PREFECT__CLOUD__API": "https://a.example"}, "https://a.example"),
        ({CONFIG: '[cloud]\nendpoint = "https://a.example"'}, {}, "https://a.example"),
        ({}, {"PREFECT__CLOUD__API_KEY": "k"}, CLOUD),
        ({CONFIG: f'[cloud]\ntenant_id = "{ACME}"'}, {}, CLOUD),
        ({"home/my.toml": SERVER}, {"PREFECT__USER_CONFIG_PATH": "~/my.toml"}, LOCAL),
    ],
)
def test_settings_of_prefect_1_are_the_last_resort(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], url: str
) -> None:
    """They lead to a server where Prefect 3's lead to none, and then it is a Prefect 1."""
    for name, text in files.items():
        bare.write(name, text)
    settings = bare.load(environ)
    assert (settings.api_url, settings.backend) == (url, BackendName.PREFECT_1)
    before = bare.load({**environ, "PREFECT_API_URL": "http://three/api"})
    assert before == Settings(
        api_url="http://three/api",
        backend=BackendName.PREFECT_3,
        origin="PREFECT_API_URL in the environment",
    )


@pytest.mark.parametrize(
    ("files", "environ"),
    [
        ({}, {}),
        ({AUTH: LOGINS}, {}),
        ({CONFIG: "[server.telemetry]\nenabled = false"}, {}),
        ({CONFIG: '[logging]\nlevel = "DEBUG"\n[cloud]\nrequest_timeout = 60'}, {}),
        ({}, {"PREFECT__LOGGING__LEVEL": "DEBUG", "PREFECT__HOME_DIR": "~/else"}),
        ({}, {"PREFECT__SERVER__HOST": "http://h.example"}),
        ({}, {"PREFECT__CLOUD__API_KEY": "", "PREFECT__CLOUD__TENANT_ID": ""}),
        ({}, {"prefect__backend": "server"}),
        ({BACKEND: SERVER}, {"RXFLOW_BACKEND": "prefect3"}),
        ({BACKEND: SERVER}, {"RXFLOW_API_URL": ""}),
        ({BACKEND: SERVER}, {"PREFECT_API_URL": ""}),
        ({BACKEND: SERVER}, {"RXFLOW_PROFILE": "ephemeral"}),
    ],
)
def test_no_default_of_prefect_1_that_nobody_asked_for(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str]
) -> None:
    """Without a setting that leads to Prefect 1's server there is none."""
    for name, text in files.items():
        bare.write(name, text)
    assert "No URL of a Prefect API was found" in bare.fails(environ)


def test_credentials_of_prefect_3_stay_there(bare: Installation) -> None:
    """A server that Prefect 1's settings lead to gets nothing that was meant for a Prefect 3."""
    bare.write("cwd/.env", 'PREFECT_CLIENT_CUSTOM_HEADERS={"X-A": "1"}')
    environ = {"PREFECT_API_KEY": "three", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "1"}
    settings = bare.load({**environ, "PREFECT__BACKEND": "server"})
    assert settings == Settings(
        api_url=LOCAL,
        backend=BackendName.PREFECT_1,
        origin="PREFECT__BACKEND in the environment",
    )


def test_an_empty_url_hides_prefect_1_too(bare: Installation) -> None:
    """The list of places ends at the empty one."""
    message = bare.fails({"PREFECT__CLOUD__API": ""})
    assert message.splitlines()[-3].endswith("empty, which hides all later sources")


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        pytest.param({"api_key": "k", "tenant_id": ACME}, ACME, id="both"),
        pytest.param({"tenant_id": ACME}, None, id="no key"),
        pytest.param({"api_key": "k"}, None, id="no tenant"),
        pytest.param({"api_key": "k", "tenant_id": ACME, "backend": "prefect3"}, None, id="not 3"),
        pytest.param({"api_key": "k", "tenant_id": ACME, "backend": ""}, ACME, id="not known yet"),
        pytest.param(
            {"api_key": "k", "tenant_id": ACME, "headers": {"X-Prefect-Tenant-Id": EMCA}},
            EMCA,
            id="a header of the caller's",
        ),
    ],
)
def test_the_tenant_is_sent_beside_a_key(
    bare: Installation, settings: Mapping[str, Any], sent: str | None
) -> None:
    """The header that names the tenant goes with a key, which is sent as Bearer, or not at all."""
    loaded = bare.load(api_url=CLOUD, **{"backend": "prefect1", **settings})
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with build_http_client(httpx.Client, loaded, None, transport) as client:
        assert client.headers.get("X-PREFECT-TENANT-ID") == sent
        key = settings.get("api_key")
        assert client.headers.get("Authorization") == (f"Bearer {key}" if key else None)


# --- secrets --------------------------------------------------------------------------------------

secrets = st.text(max_size=8).map(lambda tail: MARK + tail) | st.text(max_size=8).map(
    lambda head: head + MARK
)
PLACES = {
    "CLOUD__API": ("http://u:{}@h", "http://{}@h:1/x", "http://h?k={}", "u:{}@h", "${{my.{}}}"),
    "CLOUD__API_KEY": ("{}", "'{}'", "${{{}}}", "${}", "b'{}'"),
    "CLOUD__TENANT_ID": ("{}",),
    "BACKEND": ("{}", "${{{}"),
    "HOME_DIR": ("~{}",),
}


@given(data=st.data(), secret=secrets, auto=st.booleans())
def test_no_secret_is_ever_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, secret: str, auto: bool
) -> None:
    """No secret of any place, usable or not, is in the settings' text or in any error's."""
    installation = Installation(tmp_path_factory.mktemp("secrets"))
    path = data.draw(st.sampled_from(sorted(PLACES)))
    value = data.draw(st.sampled_from(PLACES[path])).format(secret)
    table, _, key = path.lower().rpartition("__")
    header = f"[{table}]\n" if table else ""
    environ: dict[str, str] = {}
    match data.draw(st.sampled_from(["environment", CONFIG, BACKEND, AUTH, "login"])):
        case "environment":
            environ = {f"PREFECT__{path}": value.replace("@/", "/")}
        case "login":
            netloc = f"u-{MARK}-h"
            installation.write(AUTH, f"[{netloc}]\napi_key = '{MARK}\n'\ntenant_id = '{MARK}'")
            environ = {"PREFECT__CLOUD__API": f"http://u:{MARK}@h"}
        case file:
            quote = data.draw(st.sampled_from(["'", '"', "'''", ""]))
            login = '["api.prefect.io"]\n' if file == AUTH else header
            installation.write(file, f"{login}{key} = {quote}{value}{quote}\n")
    arguments = {} if auto else {"backend": "prefect1"}
    assert MARK not in everything_told_of(installation, environ=environ, **arguments).lower()


def test_a_tenant_shows_itself_only_on_request(bare: Installation) -> None:
    """The tenant's id is kept as keys are."""
    settings = bare.load(api_url=CLOUD, api_key="k", tenant_id=ACME)
    assert settings.tenant_id == Secret(ACME)
    assert ACME not in repr(settings)
