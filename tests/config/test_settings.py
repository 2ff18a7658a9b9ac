"""Settings: what is found where, what outranks what, who gets which secret, and that none shows."""

import base64
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_installation import MARK, Installation, everything_told_of

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings, load_settings
from rxflow._models.entities import BackendName
from rxflow.errors import ConfigurationError

URL = "http://a.example/api"
PROFILES = """
active = "rx"

[profiles.rx]
PREFECT_API_URL = "https://prefect.example/api"
PREFECT_API_AUTH_STRING = "admin:s3cret"
PREFECT_CLIENT_CUSTOM_HEADERS = "{\\"X-Proxy\\":\\"1\\"}"

[profiles.cloud]
PREFECT_API_URL = "https://cloud.example/api/accounts/a/workspaces/w"
PREFECT_API_KEY = "pnu_1"
PREFECT_API_TLS_INSECURE_SKIP_VERIFY = true

[profiles.idle]
"""
RX = "https://prefect.example/api"
CLOUD = "https://cloud.example/api/accounts/a/workspaces/w"
VARIABLES_1 = "PREFECT__BACKEND, PREFECT__SERVER__* and PREFECT__CLOUD__* in the environment"
TABLES = '[{0}api]\nurl = "{1}"\n'


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    """Nothing is set anywhere."""
    return Installation(tmp_path)


@pytest.fixture
def profiled(tmp_path: Path) -> Installation:
    """The profiles above are in the home directory."""
    return Installation(tmp_path, {"home/.prefect/profiles.toml": PROFILES})


def shown(headers: tuple[tuple[str, Secret], ...]) -> dict[str, str]:
    """Reveal the headers."""
    return {name: value.reveal() for name, value in headers}


# --- which source wins ----------------------------------------------------------------------------

LADDER = (
    ("home/.prefect/profiles.toml", PROFILES, RX, "PREFECT_API_URL in profile 'rx' of @"),
    (
        "cwd/pyproject.toml",
        TABLES.format("tool.prefect.", "http://pyproject/api"),
        "http://pyproject/api",
        "tool.prefect.api.url in @",
    ),
    (
        "cwd/prefect.toml",
        TABLES.format("", "http://toml/api"),
        "http://toml/api",
        "api.url in @",
    ),
    ("cwd/.env", "PREFECT_API_URL=http://env/api", "http://env/api", "PREFECT_API_URL in @"),
)


def test_each_file_outranks_the_next(bare: Installation) -> None:
    """A URL in .env outranks prefect.toml, that pyproject.toml, and that the active profile."""
    for name, text, url, origin in LADDER:
        bare.write(name, text)
        settings = bare.load()
        assert settings.api_url == url
        assert settings.origin == origin.replace("@", str(bare.root / name))


def test_environment_and_arguments_outrank_files(bare: Installation) -> None:
    """An argument outranks RXFLOW_*, that PREFECT_*, and that every file."""
    for name, text, *_ in LADDER:
        bare.write(name, text)
    prefect = {"PREFECT_API_URL": "http://prefect/api"}
    both = prefect | {"RXFLOW_API_URL": "http://rxflow/api"}
    found = [bare.load(prefect), bare.load(both), bare.load(both, api_url="http://argument/api")]
    assert [(settings.api_url, settings.origin) for settings in found] == [
        ("http://prefect/api", "PREFECT_API_URL in the environment"),
        ("http://rxflow/api", "RXFLOW_API_URL in the environment"),
        ("http://argument/api", "the argument api_url"),
    ]


def test_every_value_has_an_argument_and_two_variables(profiled: Installation) -> None:
    """Keys, TLS and times are read from arguments and RXFLOW_*, and from PREFECT_* where it is."""
    profiled.write("ca.pem", "")
    pem = str(profiled.root / "ca.pem")
    by_argument = profiled.load(
        api_url=URL,
        api_key="k",
        auth_string="u:p",
        headers={"X-A": "1"},
        ssl_cert_file=pem,
        connect_timeout=1,
        read_timeout=2.5,
        deadline=3,
    )
    by_own = profiled.load(
        {
            "RXFLOW_API_URL": URL,
            "RXFLOW_API_KEY": "k",
            "RXFLOW_API_AUTH_STRING": "u:p",
            "RXFLOW_CUSTOM_HEADERS": '{"X-A": "1"}',
            "RXFLOW_SSL_CERT_FILE": pem,
            "RXFLOW_CONNECT_TIMEOUT": "1",
            "RXFLOW_READ_TIMEOUT": "2.5",
            "RXFLOW_DEADLINE": "3.0",
        }
    )
    by_prefect = profiled.load(
        {
            "PREFECT_API_URL": URL,
            "PREFECT_API_KEY": "k",
            "PREFECT_API_AUTH_STRING": "u:p",
            "PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-A": "1", "X-Proxy": "2"}',
            "PREFECT_API_SSL_CERT_FILE": pem,
        }
    )
    assert by_own == msgspec.structs.replace(by_argument, origin=by_own.origin)
    assert (by_own.connect_timeout, by_own.read_timeout, by_own.deadline) == (1.0, 2.5, 3.0)
    assert (by_prefect.api_key, by_prefect.auth_string) == (Secret("k"), Secret("u:p"))
    assert by_prefect.ssl_cert_file == pem
    assert shown(by_prefect.headers) == {"X-A": "1", "X-Proxy": "2"}


def test_defaults(bare: Installation) -> None:
    """What nothing sets has its default: no key, verified TLS, and 5, 10 and 30 seconds."""
    assert bare.load(api_url=URL) == Settings(api_url=URL)
    settings = Settings(api_url=URL)
    assert (settings.connect_timeout, settings.read_timeout, settings.deadline) == (5.0, 10.0, 30.0)
    assert settings.verify
    assert settings.authorization() is None


@pytest.mark.parametrize("name", BackendName)
def test_the_backend_can_be_said(profiled: Installation, name: BackendName) -> None:
    """An argument says what a server is, before RXFLOW_BACKEND; Prefect 3's settings name one."""
    other = {"RXFLOW_BACKEND": next(n.value for n in BackendName if n != name)}
    assert profiled.load(other, api_url=URL, backend=name).backend is name
    assert profiled.load(other, api_url=URL, backend=name.value).backend is name
    assert profiled.load({"RXFLOW_BACKEND": name.value}, api_url=URL).backend is name
    assert profiled.load(other, api_url=URL, backend="").backend is None
    assert profiled.load(api_url=URL).backend is None
    assert profiled.load().backend is BackendName.PREFECT_3


def test_a_backend_nobody_knows_is_refused(bare: Installation) -> None:
    """The error says where it was found, and which ones there are."""
    rule = "must be prefect3 or prefect1."
    assert bare.fails(api_url=URL, backend="prefect2") == f"the argument backend {rule}"
    message = bare.fails({"RXFLOW_BACKEND": "Prefect1"}, api_url=URL)
    assert message == f"RXFLOW_BACKEND in the environment {rule}"


def test_the_tenant_can_be_said(bare: Installation) -> None:
    """An argument says which tenant is asked, before RXFLOW_TENANT_ID; both are UUIDs."""
    one, two = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "1a")
    environ = {"RXFLOW_TENANT_ID": one}
    assert bare.load(environ, api_url=URL).tenant_id == Secret(one)
    assert bare.load(environ, api_url=URL, tenant_id=two.upper()).tenant_id == Secret(two)
    assert bare.load(environ, api_url=URL, tenant_id="").tenant_id is None
    rule = "must be the id of a tenant, which is a UUID."
    assert bare.fails(api_url=URL, tenant_id="acme") == f"the argument tenant_id {rule}"
    message = bare.fails({"RXFLOW_TENANT_ID": "acme"}, api_url=URL)
    assert message == f"RXFLOW_TENANT_ID in the environment {rule}"


def test_a_tenant_is_put_aside_with_its_key(bare: Installation) -> None:
    """A key among the arguments comes without the tenant of RXFLOW_*, and not the other way."""
    tenant = "11111111-0000-4000-8000-000000000000"
    environ = {"RXFLOW_API_URL": URL, "RXFLOW_API_KEY": "k", "RXFLOW_TENANT_ID": tenant}
    assert bare.load(environ, api_key="mine").tenant_id is None
    other = bare.load({**environ, "RXFLOW_TENANT_ID": ""}, tenant_id=tenant)
    assert (other.api_key, other.tenant_id) == (Secret("k"), Secret(tenant))


def test_empty_is_set_to_nothing(profiled: Installation) -> None:
    """An empty text hides what a later source says, as it does in Prefect."""
    settings = profiled.load({"PREFECT_API_AUTH_STRING": "", "RXFLOW_DEADLINE": ""})
    assert (settings.auth_string, settings.deadline) == (None, 30.0)
    assert "empty, which hides" in profiled.fails({"PREFECT_API_URL": ""})
    assert profiled.load({"RXFLOW_PROFILE": "", "PREFECT_PROFILE": ""}).api_url == RX


@pytest.mark.parametrize(
    ("word", "verify"),
    [(word, False) for word in ("1", "true", "True", "yes", "ON", "t", "y")]
    + [(word, True) for word in ("0", "false", "no", "Off", "f", "N", "")],
)
def test_booleans_are_read_as_pydantic_does(bare: Installation, word: str, verify: bool) -> None:
    """TLS verification is off under each word that Prefect takes for true, and only under those."""
    environ = {"PREFECT_API_URL": URL, "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": word}
    assert bare.load(environ).verify is verify
    assert bare.load(environ, verify=not verify).verify is not verify


def test_system_certificates(bare: Installation) -> None:
    """SSL_CERT_FILE is the last resort for certificates, and no file matters unverified."""
    bare.write("cwd/system.pem", "")
    environ = {"PREFECT_API_URL": URL, "SSL_CERT_FILE": "system.pem"}
    assert bare.load(environ).ssl_cert_file == "system.pem"
    assert bare.load({**environ, "PREFECT_API_SSL_CERT_FILE": ""}).ssl_cert_file is None
    assert bare.load({**environ, "SSL_CERT_FILE": "gone.pem"}, verify=False).ssl_cert_file is None


# --- where Prefect keeps its settings -------------------------------------------------------------

OTHER = PROFILES.replace("prefect.example", "other.example")
OTHER_URL = "https://other.example/api"


@pytest.mark.parametrize(
    ("files", "environ", "url"),
    [
        pytest.param({}, {}, RX, id="the home directory"),
        pytest.param({}, {"PREFECT_PROFILE": "cloud"}, CLOUD, id="PREFECT_PROFILE"),
        pytest.param({}, {"RXFLOW_PROFILE": "cloud"}, CLOUD, id="RXFLOW_PROFILE"),
        pytest.param(
            {}, {"PREFECT_PROFILE": "nosuch", "RXFLOW_PROFILE": "cloud"}, CLOUD, id="both"
        ),
        pytest.param(
            {"o/profiles.toml": OTHER}, {"PREFECT_HOME": "@/o"}, OTHER_URL, id="PREFECT_HOME"
        ),
        pytest.param(
            {"o.toml": OTHER}, {"PREFECT_PROFILES_PATH": "@/o.toml"}, OTHER_URL, id="profiles path"
        ),
        pytest.param(
            {"cwd/o.toml": OTHER},
            {"PREFECT_PROFILES_PATH": "o.toml", "PREFECT_HOME": "@/nosuch"},
            OTHER_URL,
            id="a relative path, over PREFECT_HOME",
        ),
        pytest.param(
            {"cwd/o.toml": OTHER, "cwd/.env": "PREFECT_PROFILES_PATH=o.toml"},
            {"PREFECT_PROFILES_PATH": ""},
            OTHER_URL,
            id="a path in .env",
        ),
        pytest.param(
            {"cwd/o.toml": OTHER, "cwd/prefect.toml": 'profiles_path = "o.toml"'},
            {},
            OTHER_URL,
            id="a path in prefect.toml",
        ),
        pytest.param(
            {"cwd/o.toml": OTHER, "cwd/pyproject.toml": '[tool.prefect]\nprofiles_path="o.toml"'},
            {},
            OTHER_URL,
            id="a path in pyproject.toml",
        ),
        pytest.param({"cwd/.env": "PREFECT_HOME=/nosuch"}, {}, RX, id="PREFECT_HOME in .env not"),
        pytest.param({"cwd/.env/bin/python": ""}, {}, RX, id=".env is a directory"),
        pytest.param({}, {"prefect_api_url": URL}, URL, id="lower case in the environment"),
    ],
)
def test_profiles_are_where_prefect_looks(
    profiled: Installation, files: Mapping[str, str], environ: Mapping[str, str], url: str
) -> None:
    """profiles.toml and the active profile are found by the same rules as Prefect's."""
    for name, text in files.items():
        profiled.write(name, text)
    assert profiled.load(environ).api_url == url


def test_packaged_profile(bare: Installation) -> None:
    """Without a profiles.toml the profile `local` that comes with Prefect is known."""
    assert bare.load({"PREFECT_PROFILE": "local"}).api_url == "http://127.0.0.1:4200/api"
    assert bare.load(profile="local").api_url == "http://127.0.0.1:4200/api"


def test_test_mode_reads_no_profile(profiled: Installation) -> None:
    """In Prefect's test mode the active profile is not read, and one asked for is."""
    environ = {"PREFECT_TEST_MODE": "1"}
    assert "in test mode" in profiled.fails(environ)
    assert profiled.load(environ, profile="rx").api_url == RX


@pytest.mark.parametrize(
    ("line", "key"),
    [
        pytest.param("PREFECT_API_KEY=a#b c  ", "a#b c", id="bare, a hash inside"),
        pytest.param("PREFECT_API_KEY=ab # c", "ab", id="comment"),
        pytest.param("PREFECT_API_KEY= # c", None, id="only a comment"),
        pytest.param("export PREFECT_API_KEY = ab", "ab", id="export and blanks"),
        pytest.param("prefect_api_key='a # b' # c", "a # b", id="single quotes"),
        pytest.param(r"PREFECT_API_KEY='a\'\\\n'", r"a'\\n", id="escapes in single quotes"),
        pytest.param(r'PREFECT_API_KEY="a\"\\\tb"', 'a"\\\tb', id="escapes in double quotes"),
        pytest.param("PREFECT_API_KEY='a'b", None, id="text after the quotes"),
        pytest.param("PREFECT API KEY=a", None, id="not a binding"),
        pytest.param("PREFECT_API_KEY=a\nPREFECT_API_KEY=b", "b", id="the last one counts"),
        pytest.param("\ufeffPREFECT_API_KEY=a", "a", id="byte order mark"),
        pytest.param("A=1\nPREFECT_API_KEY=${A}${B}${C:-3}${D}", "123", id="references"),
        pytest.param("X='\nPREFECT_API_KEY=no\n'\nPREFECT_API_KEY=a", "a", id="many lines quoted"),
    ],
)
def test_dotenv_grammar(bare: Installation, line: str, key: str | None) -> None:
    """A .env file is read by the grammar of python-dotenv."""
    bare.write("cwd/.env", line)
    settings = bare.load({"PREFECT_API_URL": URL, "B": "2"})
    assert settings.api_key == (None if key is None else Secret(key))


def test_headers_of_all_sources_are_merged(profiled: Installation) -> None:
    """Headers add up over the sources, and of two of one name the higher source's is sent."""
    profiled.write("cwd/prefect.toml", '[client.custom_headers]\nX-Toml = "t"\nx-proxy = "2"\n')
    profiled.write("cwd/pyproject.toml", '[tool.prefect.client]\ncustom_headers = \'{"A": "p"}\'')
    settings = profiled.load({"RXFLOW_CUSTOM_HEADERS": '{"a": "1"}'}, headers={"B": "2"})
    assert shown(settings.headers) == {"x-proxy": "2", "X-Toml": "t", "a": "1", "B": "2"}


def test_protected_headers(profiled: Installation) -> None:
    """Headers of the client's own are dropped from Prefect's settings and refused elsewhere."""
    for name in ("User-Agent", "Prefect-Csrf-Token", "PREFECT-CSRF-CLIENT"):
        text = json.dumps({name: "x", "Ok": "y"})
        settings = profiled.load({"PREFECT_CLIENT_CUSTOM_HEADERS": text})
        assert shown(settings.headers) == {"X-Proxy": "1", "Ok": "y"}
        assert "RXFLOW_CUSTOM_HEADERS" in profiled.fails({"RXFLOW_CUSTOM_HEADERS": text})
        assert "argument headers" in profiled.fails(headers={name: "x"})


# --- the URL, and who gets which credential -------------------------------------------------------


@pytest.mark.parametrize(
    ("given_url", "api_url", "auth_string"),
    [
        ("http://h:4200/api/", "http://h:4200/api", None),
        ("HTTPS://[::1]:4200//", "https://[::1]:4200", None),
        ("http://u:p@h/api", "http://h/api", "u:p"),
        ("http://us%40er:p%2Fw%3A@h:1/api", "http://h:1/api", "us@er:p/w:"),
        ("http://u:p@w@h/api", "http://h/api", "u:p@w"),
        ("http://u@h/api", "http://h/api", "u:"),
        ("http://:p@h/api", "http://h/api", ":p"),
        ("http://@h/api", "http://h/api", None),
    ],
)
def test_url_is_split(
    bare: Installation, given_url: str, api_url: str, auth_string: str | None
) -> None:
    """The URL loses its trailing slash and its user-info, which becomes the auth string."""
    settings = bare.load(api_url=given_url)
    assert settings.api_url == api_url
    assert settings.auth_string == (None if auth_string is None else Secret(auth_string))


def basic(auth_string: str) -> str:
    """Return what basic authentication makes of an auth string."""
    return "Basic " + base64.b64encode(auth_string.encode()).decode()


@pytest.mark.parametrize(
    ("environ", "arguments", "authorization"),
    [
        pytest.param({}, {}, basic("admin:s3cret"), id="the profile's"),
        pytest.param({"PREFECT_PROFILE": "cloud"}, {}, "Bearer pnu_1", id="another profile's"),
        pytest.param({"PREFECT_API_URL": URL}, {}, basic("admin:s3cret"), id="as Prefect does"),
        pytest.param({"PREFECT_API_KEY": "k"}, {}, basic("admin:s3cret"), id="auth over key"),
        pytest.param(
            {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"authorization": "Token t"}'},
            {},
            "Token t",
            id="header over auth",
        ),
        pytest.param({}, {"api_url": URL}, None, id="not to an argument's server"),
        pytest.param({"RXFLOW_API_URL": URL}, {}, None, id="not to the server of RXFLOW_API_URL"),
        pytest.param(
            {"PREFECT_API_KEY": "k"}, {"api_url": URL}, "Bearer k", id="the environment's to it"
        ),
        pytest.param({}, {"api_key": "k"}, "Bearer k", id="an argument's puts aside"),
        pytest.param({"RXFLOW_API_KEY": "k"}, {}, "Bearer k", id="RXFLOW's puts aside"),
        pytest.param(
            {"RXFLOW_API_AUTH_STRING": "a:b"}, {"api_key": "k"}, "Bearer k", id="over RXFLOW's"
        ),
        pytest.param(
            {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Token t"}'},
            {"api_key": "k"},
            "Bearer k",
            id="a header is put aside too",
        ),
        pytest.param({}, {"headers": {"authorization": "Token t"}}, "Token t", id="by a header"),
        pytest.param({}, {"api_key": ""}, None, id="none at all"),
        pytest.param(
            {"PREFECT_API_KEY": "k"}, {"api_url": "http://u:p@h"}, basic("u:p"), id="user-info"
        ),
        pytest.param(
            {}, {"api_url": "http://u:p@h", "api_key": "k"}, basic("u:p"), id="user-info over key"
        ),
        pytest.param(
            {}, {"api_url": "http://u:p@h", "auth_string": "a:b"}, basic("a:b"), id="auth over it"
        ),
        pytest.param(
            {"PREFECT_API_URL": "http://u:p@h", "RXFLOW_API_KEY": "k"},
            {},
            "Bearer k",
            id="user-info is put aside too",
        ),
        pytest.param(
            {"PREFECT_API_URL": "http://u:p@h"}, {"api_url": URL}, None, id="user-info stays there"
        ),
    ],
)
def test_who_gets_which_credential(
    profiled: Installation,
    environ: Mapping[str, str],
    arguments: Mapping[str, Any],
    authorization: str | None,
) -> None:
    """A credential goes only where its source means it to, and the strongest one is sent."""
    assert profiled.load(environ, **arguments).authorization() == authorization


def test_a_url_of_ones_own_reads_no_file(profiled: Installation) -> None:
    """With a URL from outside Prefect's settings neither headers, TLS nor faults come of files."""
    profiled.write("cwd/prefect.toml", "broken [")
    profiled.write("cwd/.env", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY=1")
    assert profiled.load(api_url=URL) == Settings(api_url=URL)
    assert profiled.load({"RXFLOW_API_URL": URL, "RXFLOW_PROFILE": "x"}).headers == ()


def test_url_and_profile_exclude_each_other(profiled: Installation) -> None:
    """A profile asked for beside a URL is refused, for it would be ignored."""
    assert "give only one" in profiled.fails(api_url=URL, profile="rx")
    assert "RXFLOW_API_URL" in profiled.fails({"RXFLOW_API_URL": URL}, profile="rx")


# --- what is refused, and how ---------------------------------------------------------------------


def test_no_url_lists_every_place(profiled: Installation) -> None:
    """Without a URL the error names each place that was looked in, in order, and what to do."""
    lines = profiled.fails({"PREFECT_PROFILE": "idle"}).splitlines()
    assert lines[1:-2] == [
        "  - the argument api_url: not given",
        "  - RXFLOW_API_URL in the environment: not set",
        "  - PREFECT_API_URL in the environment: not set",
        f"  - PREFECT_API_URL in {profiled.cwd}/.env: no such file",
        f"  - api.url in {profiled.cwd}/prefect.toml: no such file",
        f"  - tool.prefect.api.url in {profiled.cwd}/pyproject.toml: no such file",
        f"  - PREFECT_API_URL in profile 'idle' of {profiled.home}/.prefect/profiles.toml: not set",
        f"  - {VARIABLES_1}: no server is chosen there",
        f"  - backend, server and cloud in {profiled.home}/.prefect/config.toml: no such file",
        f"  - backend, server and cloud in {profiled.home}/.prefect/backend.toml: no such file",
    ]
    for advice in ("http://127.0.0.1:4200/api", "prefect profile use", "ephemeral"):
        assert advice in lines[-2]
    assert "Prefect 1" in lines[-1]


@pytest.mark.parametrize(
    ("files", "environ", "part"),
    [
        ({}, {}, "profile 'ephemeral' of"),
        ({"home/.prefect/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "x"}, "no such profile"),
        ({"home/.prefect/profiles.toml": 'active = "local"'}, {}, "no such profile"),
        ({"home/.prefect/profiles.toml": "[profiles.a]"}, {}, "none is active"),
        ({}, {"PREFECT_PROFILES_PATH": "@/gone.toml"}, "gone.toml (no such file)"),
    ],
)
def test_no_url_says_why_the_profile_has_none(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], part: str
) -> None:
    """The last place of Prefect 3's says which profile it was, and what it lacks."""
    for name, text in files.items():
        bare.write(name, text)
    places = [line for line in bare.fails(environ).splitlines() if line.startswith("  - ")]
    assert part in places[-4]


@pytest.mark.parametrize("environ", [{}, {"PREFECT_API_URL": URL}])
def test_unknown_profile_of_ones_own(profiled: Installation, environ: Mapping[str, str]) -> None:
    """A profile that was asked for must exist, and the error says which there are."""
    message = profiled.fails(environ, profile="x")
    assert message.startswith("the argument profile names the profile 'x'")
    assert "'rx', 'cloud', 'idle'" in message
    assert profiled.fails({**environ, "RXFLOW_PROFILE": "x"}).startswith("RXFLOW_PROFILE in")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4200/api",
        "ftp://h/api",
        "http:///api",
        "http://h:99999/api",
        "http://h:port/api",
        "http://h:0/api",
        "http://[::1/api",
        "http://h/api?key=x",
        "http://h/api#x",
        "http://h /api",
        "http://h/api\n",
        "http://u:p/w@h/api",
        "http://u:12/w@h/api",
        "http://h\\x@i/api",
        "http://u\ud800:p@h/api",
        "h",
    ],
)
def test_unusable_urls(bare: Installation, url: str) -> None:
    """A URL that no request could be sent to, or only to another host than meant, is refused."""
    message = bare.fails({"PREFECT_API_URL": url})
    assert message.startswith("PREFECT_API_URL in the environment must be an http:// or https://")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        *[
            (f"RXFLOW_{name}", value, "must be a number of seconds above 0")
            for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT", "DEADLINE")
            for value in ("ten", "0", "-1", "nan", "inf", "1e999")
        ],
        *[
            ("PREFECT_CLIENT_CUSTOM_HEADERS", value, "must be a JSON object of header names")
            for value in (
                "{",
                "[]",
                "null",
                '{"A": 1}',
                '{"A": "b\\nc"}',
                '{"A": " b"}',
                '{"A": "\u00e9"}',
                '{"A: b": "c"}',
                '{"": "c"}',
                "[" * 100_000,
            )
        ],
        ("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "maybe", "must be true or false"),
        ("PREFECT_API_SSL_CERT_FILE", "gone.pem", "must be the path of an existing file"),
        ("PREFECT_API_KEY", "k\n", "must be one line of ASCII"),
        ("RXFLOW_API_AUTH_STRING", "a:b\n", "must be user:password, in one line"),
        ("RXFLOW_API_AUTH_STRING", "a:\udcff", "must be user:password, in one line"),
    ],
)
def test_unusable_values(bare: Installation, name: str, value: str, rule: str) -> None:
    """A value that cannot be used is refused by the name of its place, with what it must be."""
    message = bare.fails({"PREFECT_API_URL": URL, name: value})
    assert message.startswith(f"{name} in the environment {rule}")


def test_unusable_arguments(bare: Installation) -> None:
    """Arguments are held to the same rules as variables."""
    assert bare.fails(api_url=URL, deadline=float("nan")).startswith("the argument deadline must")
    assert bare.fails(api_url=URL, headers={"A": "\ud800"}).startswith("the argument headers must")
    message = bare.fails(api_url=URL, ssl_cert_file="a\0b")
    assert message == "the argument ssl_cert_file must be the path of an existing file."


def test_what_is_outranked_is_not_judged(bare: Installation) -> None:
    """A key that is put aside by another need not be usable."""
    assert bare.load({"PREFECT_API_KEY": "k\n"}, api_url=URL, api_key="k").api_key == Secret("k")


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("home/.prefect/profiles.toml", "active = [\n", "is not valid TOML (at end of document)"),
        ("cwd/prefect.toml", "[api]\nurl = x", "is not valid TOML (at line 2, column 7)"),
        ("cwd/pyproject.toml", "[tool", "is not valid TOML"),
        ("cwd/prefect.toml", "[api]\nurl = [1]", "api.url in "),
        ("home/.prefect/profiles.toml", "active='a'\n[profiles.a]\nPREFECT_API_KEY=[]", "string"),
    ],
)
def test_broken_files(bare: Installation, name: str, text: str, part: str) -> None:
    """A broken file is an error that names it, even where the URL stands elsewhere."""
    bare.write(name, text)
    message = bare.fails({"PREFECT_API_URL": URL})
    assert part in message
    assert str(bare.root / name) in message


def test_unreadable_files(bare: Installation) -> None:
    """A file that is no text, or may not be read, is an error that names it."""
    path = bare.cwd / ".env"
    path.write_bytes(b"PREFECT_API_URL=\xff")
    assert bare.fails() == (
        f"{path} cannot be read: it is not UTF-8 text. Make it readable, or remove it."
    )
    path.unlink()
    path.symlink_to("x" * 300)
    assert str(path) in bare.fails()


# --- secrets --------------------------------------------------------------------------------------


def test_secret_shows_itself_only_on_request() -> None:
    """A secret is equal and hashed by its text, and shows it by no means but `reveal`."""
    secret = Secret("s3cr3t")
    assert secret.reveal() == "s3cr3t"
    assert secret == Secret("s3cr3t") != Secret("other")
    assert secret != "s3cr3t"
    assert len({secret, Secret("s3cr3t")}) == 1
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", f"{secret:>30}"):
        assert "s3cr3t" not in text
    with pytest.raises(TypeError) as caught:
        msgspec.json.encode(secret)
    assert "s3cr3t" not in str(caught.value)


PLACES: dict[str, tuple[str, ...]] = {
    "URL": (
        "http://u:{}@h/api",
        "http://{}@h/api",
        "http://h/api?k={}",
        "u:{}@h/api",
        "http://u:{}@h:x/api",
    ),
    "API_KEY": ("{}",),
    "API_AUTH_STRING": ("{}", "u:{}"),
    "HEADERS": ('{{"A": "{}"}}', '{{"Authorization": "{}"', '{{"User-Agent": "{}"}}', "{}"),
    "INSECURE_SKIP_VERIFY": ("{}",),
}
VARIABLES = {
    "URL": ("RXFLOW_API_URL", "PREFECT_API_URL", "api.url"),
    "API_KEY": ("RXFLOW_API_KEY", "PREFECT_API_KEY", "api.key"),
    "API_AUTH_STRING": ("RXFLOW_API_AUTH_STRING", "PREFECT_API_AUTH_STRING", "api.auth_string"),
    "HEADERS": (
        "RXFLOW_CUSTOM_HEADERS",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "client.custom_headers",
    ),
    "INSECURE_SKIP_VERIFY": (
        "RXFLOW_TLS_INSECURE_SKIP_VERIFY",
        "PREFECT_API_TLS_INSECURE_SKIP_VERIFY",
        "api.tls_insecure_skip_verify",
    ),
}
ARGUMENTS = {"URL": "api_url", "API_KEY": "api_key", "API_AUTH_STRING": "auth_string"}
secrets = st.text(max_size=8).map(lambda tail: MARK + tail) | st.text(max_size=8).map(
    lambda head: head + MARK
)


@given(data=st.data(), secret=secrets, quote=st.sampled_from(["'", '"', "'''", '"""', ""]))
def test_no_secret_is_ever_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, secret: str, quote: str
) -> None:
    """No secret of any source, usable or not, is in the settings' text or in any error's."""
    installation = Installation(tmp_path_factory.mktemp("secrets"))
    place = data.draw(st.sampled_from(sorted(PLACES)))
    value = data.draw(st.sampled_from(PLACES[place])).format(secret)
    own, prefect, dotted = VARIABLES[place]
    table, _, key = dotted.rpartition(".")
    source = data.draw(st.sampled_from([own, prefect, "profile", ".env", "toml", "argument"]))
    environ = {"PREFECT_API_URL": URL} if place != "URL" else {}
    arguments: dict[str, Any] = {}
    match source:
        case "profile":
            text = f"active = 'a'\n[profiles.a]\n{prefect} = {quote}{value}{quote}\n"
            installation.write("home/.prefect/profiles.toml", text)
        case ".env":
            installation.write("cwd/.env", f"{prefect}={quote}{value}{quote}")
        case "toml":
            installation.write("cwd/prefect.toml", f"[{table}]\n{key} = {quote}{value}{quote}\n")
        case "argument" if place == "HEADERS":
            arguments = {"headers": {"X": secret}}
        case "argument" if place in ARGUMENTS:
            arguments = {ARGUMENTS[place]: value}
        case _:
            environ[own if source == "argument" else source] = value
    assert MARK not in everything_told_of(installation, environ=environ, **arguments).lower()


@pytest.mark.parametrize(
    "arguments", [{"profile": "nosuch"}, {"deadline": -1}, {"ssl_cert_file": "nosuch"}]
)
def test_errors_keep_no_frame_with_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Mapping[str, Any]
) -> None:
    """An error has one frame of the library, which holds neither environment nor profiles."""
    profiles = (
        'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://h"\nPREFECT_API_KEY = "s3cr3t"'
    )
    installation = Installation(tmp_path, {"home/.prefect/profiles.toml": profiles})
    monkeypatch.setenv("RXFLOW_API_AUTH_STRING", "u:s3cr3t")
    for name in ("RXFLOW_API_URL", "PREFECT_API_URL", "PREFECT_PROFILES_PATH", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(cwd=installation.cwd, home=installation.home, **arguments)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert len(frames) == 1
    assert MARK not in repr(frames[0].f_locals)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
