"""The merged configuration table of Prefect 1: the origins of values, and unused values."""

from collections.abc import Mapping

import pytest
from prefect1_installation import CLOUD, CONFIG, LOCAL, url_key_tenant
from prefect_installation import Installation


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
def test_a_url_names_the_origins_of_all_its_parts(
    bare: Installation, files: Mapping[str, str], environ: Mapping[str, str], origin: str
) -> None:
    """The origin of the URL lists everything that was set and that the URL is made of."""
    bare.write_all(files)
    found = bare.load(environ, backend="prefect1")
    assert found.origin == origin.replace("@", str(bare.home))


def test_an_unused_value_need_not_make_sense(bare: Installation) -> None:
    """A value from which nothing is made causes no error."""
    bare.write(CONFIG, '[my]\nuser = "~\\u0000"\ncircle = "$X"\nnumber = 0x0')
    assert url_key_tenant(bare.load({"X": "-$X"}, backend="prefect1")) == (CLOUD, None, None)
    settings = bare.load({"PREFECT__BACKEND": "nosuch"}, backend="prefect1", api_url=LOCAL)
    assert url_key_tenant(settings) == (LOCAL, None, None)
