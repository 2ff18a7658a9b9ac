"""Where the settings of a Prefect 3 installation are found."""

from collections.abc import Mapping

import pytest
from prefect_installation import CLOUD_PROFILE_URL, PROFILE_URL, PROFILES, URL, Installation

OTHER = PROFILES.replace("prefect.example", "other.example")
OTHER_URL = "https://other.example/api"


@pytest.mark.parametrize(
    ("files", "environ", "url"),
    [
        pytest.param({}, {}, PROFILE_URL, id="the home directory"),
        pytest.param({}, {"PREFECT_PROFILE": "cloud"}, CLOUD_PROFILE_URL, id="PREFECT_PROFILE"),
        pytest.param({}, {"RXFLOW_PROFILE": "cloud"}, CLOUD_PROFILE_URL, id="RXFLOW_PROFILE"),
        pytest.param(
            {},
            {"PREFECT_PROFILE": "nosuch", "RXFLOW_PROFILE": "cloud"},
            CLOUD_PROFILE_URL,
            id="both",
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
        pytest.param(
            {"cwd/.env": "PREFECT_HOME=/nosuch"}, {}, PROFILE_URL, id="PREFECT_HOME in .env not"
        ),
        pytest.param({"cwd/.env/bin/python": ""}, {}, PROFILE_URL, id=".env is a directory"),
        pytest.param({}, {"prefect_api_url": URL}, URL, id="lower case in the environment"),
    ],
)
def test_profiles_are_found_as_by_prefect(
    profiled: Installation, files: Mapping[str, str], environ: Mapping[str, str], url: str
) -> None:
    """profiles.toml and the active profile are found by the same rules as in Prefect."""
    profiled.write_all(files)
    assert profiled.load(environ).api_url == url


def test_packaged_profile(bare: Installation) -> None:
    """Without a profiles.toml the packaged profile `local` of Prefect can be chosen."""
    assert bare.load({"PREFECT_PROFILE": "local"}).api_url == "http://127.0.0.1:4200/api"
    assert bare.load(profile="local").api_url == "http://127.0.0.1:4200/api"


def test_test_mode_reads_no_profile(profiled: Installation) -> None:
    """In Prefect's test mode the active profile is not read; a chosen profile is."""
    environ = {"PREFECT_TEST_MODE": "1"}
    assert "in test mode" in profiled.error(environ)
    assert profiled.load(environ, profile="rx").api_url == PROFILE_URL


@pytest.mark.parametrize("environ", [{}, {"PREFECT_API_URL": URL}])
def test_a_chosen_profile_must_exist(profiled: Installation, environ: Mapping[str, str]) -> None:
    """The error names the origin of the choice and lists the known profiles."""
    message = profiled.error(environ, profile="x")
    assert message.startswith("the argument profile names the profile 'x'")
    assert "'rx', 'cloud', 'idle'" in message
    assert profiled.error({**environ, "RXFLOW_PROFILE": "x"}).startswith("RXFLOW_PROFILE in")
    profiled.write("home/.prefect/profiles.toml", "")
    assert "Profiles there: none. Name one" in profiled.error(environ, profile="x")


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("cwd/prefect.toml", "[api]\nurl = [1]", "api.url in "),
        ("home/.prefect/profiles.toml", "active='a'\n[profiles.a]\nPREFECT_API_KEY=[]", "string"),
    ],
)
def test_a_value_that_is_not_text_is_rejected(
    bare: Installation, name: str, text: str, part: str
) -> None:
    """A list in place of a text is an error that names the file, even if it would not be used."""
    bare.write(name, text)
    message = bare.error({"PREFECT_API_URL": URL})
    assert part in message
    assert str(bare.root / name) in message
