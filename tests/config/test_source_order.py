"""Which source of settings has precedence, and which installation of Prefect is read."""

from collections.abc import Mapping
from typing import Any

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
from prefect_installation import PROFILE_URL, PROFILES, URL, Installation

from rxflow._config.settings import Settings, find_url_sources
from rxflow._models.entities import BackendName

VARIABLES_1 = "PREFECT__BACKEND, PREFECT__SERVER__* and PREFECT__CLOUD__* in the environment"
TABLES = '[{0}api]\nurl = "{1}"\n'

# Files from lowest to highest precedence: path, text, URL and its origin ("@" is the path).
FILES_BY_PRECEDENCE = (
    ("home/.prefect/profiles.toml", PROFILES, PROFILE_URL, "PREFECT_API_URL in profile 'rx' of @"),
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


def test_files_have_a_fixed_precedence(bare: Installation) -> None:
    """A URL in .env wins over prefect.toml, then pyproject.toml, then the active profile."""
    for name, text, url, origin in FILES_BY_PRECEDENCE:
        bare.write(name, text)
        settings = bare.load()
        assert settings.api_url == url
        assert settings.origin == origin.replace("@", str(bare.root / name))


def test_arguments_and_environment_precede_files(bare: Installation) -> None:
    """An argument wins over RXFLOW_*, RXFLOW_* over PREFECT_*, and PREFECT_* over every file."""
    for name, text, *_ in FILES_BY_PRECEDENCE:
        bare.write(name, text)
    prefect = {"PREFECT_API_URL": "http://prefect/api"}
    both = prefect | {"RXFLOW_API_URL": "http://rxflow/api"}
    found = [bare.load(prefect), bare.load(both), bare.load(both, api_url="http://argument/api")]
    assert [(settings.api_url, settings.origin) for settings in found] == [
        ("http://prefect/api", "PREFECT_API_URL in the environment"),
        ("http://rxflow/api", "RXFLOW_API_URL in the environment"),
        ("http://argument/api", "the argument api_url"),
    ]


def test_an_empty_text_hides_later_sources(profiled: Installation) -> None:
    """An empty text sets a value to nothing and hides all later sources, as in Prefect."""
    settings = profiled.load({"PREFECT_API_AUTH_STRING": "", "RXFLOW_DEADLINE": ""})
    assert (settings.auth_string, settings.deadline) == (None, 30.0)
    assert "empty, which hides" in profiled.error({"PREFECT_API_URL": ""})
    assert profiled.load({"RXFLOW_PROFILE": "", "PREFECT_PROFILE": ""}).api_url == PROFILE_URL


@pytest.mark.parametrize("name", BackendName)
def test_the_backend_can_be_named(profiled: Installation, name: BackendName) -> None:
    """The argument `backend` wins over RXFLOW_BACKEND; a URL in Prefect 3's settings implies it."""
    other = {"RXFLOW_BACKEND": next(n.value for n in BackendName if n != name)}
    assert profiled.load(other, api_url=URL, backend=name).backend is name
    assert profiled.load(other, api_url=URL, backend=name.value).backend is name
    assert profiled.load({"RXFLOW_BACKEND": name.value}, api_url=URL).backend is name
    assert profiled.load(other, api_url=URL, backend="").backend is None
    assert profiled.load(api_url=URL).backend is None
    assert profiled.load().backend is BackendName.PREFECT_3


def test_an_unknown_backend_is_rejected(bare: Installation) -> None:
    """The error names the origin of the text and the known backends."""
    rule = "must be prefect3 or prefect1."
    assert bare.error(api_url=URL, backend="prefect2") == f"the argument backend {rule}"
    message = bare.error({"RXFLOW_BACKEND": "Prefect1"}, api_url=URL)
    assert message == f"RXFLOW_BACKEND in the environment {rule}"


def test_with_a_url_from_outside_no_file_is_read(profiled: Installation) -> None:
    """With a URL argument or RXFLOW_API_URL, files yield no headers, TLS settings or errors."""
    profiled.write("cwd/prefect.toml", "broken [")
    profiled.write("cwd/.env", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY=1")
    assert profiled.load(api_url=URL) == Settings(api_url=URL)
    assert profiled.load({"RXFLOW_API_URL": URL, "RXFLOW_PROFILE": "x"}).headers == ()


def test_url_and_profile_exclude_each_other(profiled: Installation) -> None:
    """A profile argument beside a URL is rejected, since it would be ignored."""
    assert "give only one" in profiled.error(api_url=URL, profile="rx")
    assert "RXFLOW_API_URL" in profiled.error({"RXFLOW_API_URL": URL}, profile="rx")


def test_the_error_without_a_url_lists_every_source(profiled: Installation) -> None:
    """Without a URL the error lists each source in order, and says how to set one."""
    lines = profiled.error({"PREFECT_PROFILE": "idle"}).splitlines()
    assert lines[1:-2] == [
        "  - the argument api_url: not given",
        "  - RXFLOW_API_URL in the environment: not set",
        "  - PREFECT_API_URL in the environment: not set",
        f"  - PREFECT_API_URL in {profiled.cwd}/.env: no such file",
        f"  - api.url in {profiled.cwd}/prefect.toml: no such file",
        f"  - tool.prefect.api.url in {profiled.cwd}/pyproject.toml: no such file",
        f"  - PREFECT_API_URL in profile 'idle' of {profiled.home}/.prefect/profiles.toml: not set",
        f"  - {VARIABLES_1}: no server is chosen there",
        f"  - backend, server and cloud in {profiled.home}/.prefect/backend.toml: no such file",
        f"  - backend, server and cloud in {profiled.home}/.prefect/config.toml: no such file",
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
def test_the_error_without_a_url_names_the_profile(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], part: str
) -> None:
    """The last source of Prefect 3 names the profile that was read, and why it has no URL."""
    bare.write_all(files)
    sources = [line for line in bare.error(environ).splitlines() if line.startswith("  - ")]
    assert part in sources[-4]


# --- Prefect 1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        pytest.param({"RXFLOW_API_URL": LOCAL}, {}, (LOCAL, "mine", None), id="RXFLOW's URL"),
        pytest.param(
            {"RXFLOW_API_URL": LOCAL},
            {"api_url": CLOUD},
            (CLOUD, "saved", ACME),
            id="a URL argument",
        ),
        pytest.param(
            {},
            {"api_url": "https://e.example"},
            ("https://e.example", None, None),
            id="an unknown server",
        ),
        pytest.param(
            {"PREFECT__CLOUD__API_KEY": "k", "PREFECT__CLOUD__API": LOCAL},
            {"api_url": "https://e.example"},
            ("https://e.example", "k", None),
            id="the environment's key to an unknown server",
        ),
        pytest.param({"RXFLOW_API_KEY": "k"}, {}, (CLOUD, "k", None), id="RXFLOW's key"),
        pytest.param(
            {"RXFLOW_API_KEY": "k"}, {"api_key": "mine"}, (CLOUD, "mine", None), id="a key argument"
        ),
        pytest.param({}, {"tenant_id": EMCA}, (CLOUD, "saved", EMCA), id="a tenant argument"),
        pytest.param(
            {}, {"api_key": "k", "tenant_id": EMCA}, (CLOUD, "k", EMCA), id="a key and a tenant"
        ),
        pytest.param({}, {"api_key": ""}, (CLOUD, None, None), id="an empty key argument"),
    ],
)
def test_arguments_and_own_variables_precede_prefect_1(
    bare: Installation,
    environ: Mapping[str, str],
    arguments: Mapping[str, Any],
    expected: UrlKeyTenant,
) -> None:
    """They win over Prefect 1's settings; a URL among them gets the key saved for its server."""
    bare.write(AUTH, LOGINS)
    bare.write(CONFIG, '[cloud]\nendpoint = "https://api.prefect.io/"')
    assert url_key_tenant(bare.load(environ, backend="prefect1", **arguments)) == expected


def test_with_a_url_from_outside_only_logins_are_read(bare: Installation) -> None:
    """A file that may describe another server is not read, even if it is broken."""
    bare.write(CONFIG, "broken [")
    bare.write(BACKEND, "broken [")
    bare.write(AUTH, LOGINS)
    settings = bare.load({"RXFLOW_BACKEND": "prefect1"}, api_url=LOCAL)
    assert url_key_tenant(settings) == (LOCAL, "mine", None)


def test_a_login_is_sent_only_to_a_server_named_as_prefect_1(bare: Installation) -> None:
    """Without a named backend, a URL from outside gets no key of Prefect 1."""
    bare.write(AUTH, LOGINS)
    environ = {"PREFECT__CLOUD__API_KEY": "k"}
    for backend in (None, "prefect3"):
        assert url_key_tenant(bare.load(environ, api_url=LOCAL, backend=backend)) == (
            LOCAL,
            None,
            None,
        )


def test_prefect_3_is_ignored_where_the_backend_is_prefect_1(bare: Installation) -> None:
    """Neither URL nor credentials come from Prefect 3's sources."""
    bare.write("cwd/.env", "PREFECT_API_AUTH_STRING=a:b")
    bare.write("home/.prefect/profiles.toml", "broken [")
    environ = {"PREFECT_API_URL": "http://three/api", "PREFECT_API_KEY": "three"}
    settings = bare.load({**environ, "RXFLOW_BACKEND": "prefect1", "RXFLOW_PROFILE": "x"})
    assert url_key_tenant(settings) == (CLOUD, None, None)
    assert settings.authorization() is None


def test_prefect_1_has_no_profiles(bare: Installation) -> None:
    """A profile argument beside Prefect 1 is rejected, since it would be ignored."""
    message = bare.error(backend="prefect1", profile="local")
    assert message == (
        "the argument backend is prefect1, which has no profiles: give no argument profile."
    )
    assert bare.error({"RXFLOW_BACKEND": "prefect1"}, profile="x").startswith("RXFLOW_BACKEND in")
    assert bare.load(backend="prefect3", profile="local").backend is BackendName.PREFECT_3


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
def test_prefect_1_is_used_where_prefect_3_has_no_url(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], url: str
) -> None:
    """Without a named backend, a URL in Prefect 1's settings is used if Prefect 3 has none."""
    bare.write_all(files)
    settings = bare.load(environ)
    assert (settings.api_url, settings.backend) == (url, BackendName.PREFECT_1)
    with_prefect_3 = bare.load({**environ, "PREFECT_API_URL": "http://three/api"})
    assert with_prefect_3 == Settings(
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
def test_defaults_of_prefect_1_alone_give_no_url(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str]
) -> None:
    """Without a named backend, a setting that leads to Prefect 1's server is required."""
    bare.write_all(files)
    assert "No URL of a Prefect API was found" in bare.error(environ)


def test_credentials_of_prefect_3_are_not_sent_to_prefect_1(bare: Installation) -> None:
    """A server found in Prefect 1's settings gets nothing from Prefect 3's settings."""
    bare.write("cwd/.env", 'PREFECT_CLIENT_CUSTOM_HEADERS={"X-A": "1"}')
    environ = {"PREFECT_API_KEY": "three", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "1"}
    settings = bare.load({**environ, "PREFECT__BACKEND": "server"})
    assert settings == Settings(
        api_url=LOCAL,
        backend=BackendName.PREFECT_1,
        origin="PREFECT__BACKEND in the environment",
    )


def test_an_empty_url_hides_prefect_1_too(bare: Installation) -> None:
    """The list of sources ends at the one with the empty URL."""
    message = bare.error({"PREFECT__CLOUD__API": ""})
    assert message.splitlines()[-3].endswith("empty, which hides all later sources")


def test_an_empty_url_of_prefect_1_is_missing(bare: Installation) -> None:
    """With Prefect 1 as backend, the error lists and explains only its sources."""
    bare.write(CONFIG, "")
    lines = bare.error({"PREFECT__CLOUD__API": ""}, backend="prefect1").splitlines()
    assert lines[1:-1] == [
        "  - the argument api_url: not given",
        "  - RXFLOW_API_URL in the environment: not set",
        "  - PREFECT__CLOUD__API in the environment: empty, which hides all later sources",
    ]
    assert "http://localhost:4200" in lines[-1]


def test_the_sources_of_the_url_are_listed(profiled: Installation) -> None:
    """In order of precedence, each with the reason why it has none."""
    profile = f"profile 'rx' of {profiled.home / '.prefect/profiles.toml'}"
    environ = {"PREFECT_API_URL": URL}
    sources = find_url_sources(environ=environ, cwd=profiled.cwd, home=profiled.home)
    assert sources[:3] == (
        ("the argument api_url", "not given"),
        ("RXFLOW_API_URL in the environment", "not set"),
        ("PREFECT_API_URL in the environment", ""),
    )
    assert sources[-1] == (f"PREFECT_API_URL in {profile}", "")
    passed = find_url_sources(api_url=URL, environ={})
    assert [origin for origin, _ in passed] == [origin for origin, _ in sources[:3]]
    assert [missing for _, missing in passed] == ["", "not set", "not set"]
