"""What people write for a run, before a server is read from."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow.cli._run_words import LatestRun, NamedRun, RunId, RunWord, read_run_word

API = "http://127.0.0.1:4200/api"
RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
ACCOUNT = "1a2b3c4d-0000-4000-8000-000000000001"
WORKSPACE = "1a2b3c4d-0000-4000-8000-000000000002"
CLOUD = f"https://app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}"
CLOUD_API = f"https://api.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}"

WORDS: dict[str, tuple[str, RunWord]] = {
    "an id": (RUN, RunId(RUN)),
    "upper case": (RUN.upper(), RunId(RUN)),
    "without dashes": (RUN.replace("-", ""), RunId(RUN)),
    "blanks around": (f" {RUN}\n", RunId(RUN)),
    "eight digits": ("9E6CAAFC", NamedRun("9E6CAAFC", "9e6caafc")),
    "a dash at the end": ("9e6caafc-", NamedRun("9e6caafc-", "9e6caafc")),
    "two groups": ("9e6caafc-4ea1", NamedRun("9e6caafc-4ea1", "9e6caafc-4ea1")),
    "digits of two groups": ("9e6caafc4ea1", NamedRun("9e6caafc4ea1", "9e6caafc-4ea1")),
    "all but one digit": (RUN[:-1], NamedRun(RUN[:-1], RUN[:-1])),
    "cut off by a terminal": (f"{RUN[:31]}…", NamedRun(f"{RUN[:31]}…", RUN[:31])),
    "cut off at a dash": ("9e6caafc-...", NamedRun("9e6caafc-...", "9e6caafc")),
    "cut off too soon": ("9e6…", NamedRun("9e6…", None)),
    "a name with an ellipsis": ("amber-fox…", NamedRun("amber-fox…", None)),
    "nothing but an ellipsis": ("…", NamedRun("…", None)),
    "three digits": ("9e6", NamedRun("9e6", None)),
    "a dash in another place": ("9e6c-aafc", NamedRun("9e6c-aafc", None)),
    "a name": ("amber-fox", NamedRun("amber-fox", None)),
    "a name with blanks": ("nightly run", NamedRun("nightly run", None)),
    "latest": ("@latest", LatestRun({})),
    "latest of a deployment": ("@latest:etl/nightly", LatestRun({"deployment": "etl/nightly"})),
    "latest of a flow": ("@latest:etl", LatestRun({"flow": "etl"})),
    "self-hosted": (f"http://127.0.0.1:4200/runs/flow-run/{RUN}", RunId(RUN)),
    "below a path": (f"https://prefect.example/ui/runs/flow-run/{RUN}?tab=logs#x", RunId(RUN)),
    "older": (f"http://127.0.0.1:4200/flow-runs/flow-run/{RUN}/", RunId(RUN)),
    "the API's": (f"{API}/flow_runs/{RUN}", RunId(RUN)),
    "Prefect 1": (f"http://localhost:8080/default/flow-run/{RUN}?logs", RunId(RUN)),
    "upper case in a URL": (f"http://x/runs/flow-run/{RUN.upper()}", RunId(RUN)),
}


@pytest.mark.parametrize(("word", "meaning"), WORDS.values(), ids=WORDS)
def test_a_word_has_one_meaning(word: str, meaning: RunWord) -> None:
    """Ids and beginnings of ids are canonical; a text that is neither is a name."""
    assert read_run_word(word, API) == meaning


def test_a_url_of_prefect_cloud_names_its_workspace() -> None:
    """A run of the workspace that is read from is its id; one of another is refused."""
    assert read_run_word(f"{CLOUD}/runs/flow-run/{RUN}", CLOUD_API) == RunId(RUN)
    for api in (API, CLOUD_API.replace("0002", "0003")):
        with pytest.raises(click.UsageError, match=f"workspace '{WORKSPACE}'.*--profile"):
            read_run_word(f"{CLOUD}/runs/flow-run/{RUN}", api)


HOSTS = {
    "the same": ("http://127.0.0.1:4200", API, True),
    "another name of this machine": ("http://localhost:4200", API, True),
    "the UI of Prefect 1": ("http://localhost:8080", "http://localhost:4200/graphql", True),
    "the port of the scheme": ("https://prefect.example", "https://prefect.example:443/api", True),
    "Prefect Cloud": (CLOUD, CLOUD_API, True),
    "another host": ("http://prefect.example:4200", API, False),
    "another port": ("http://127.0.0.1:4201", API, False),
}


@pytest.mark.parametrize(("page", "api", "is_same"), HOSTS.values(), ids=HOSTS)
def test_the_url_of_another_host_is_read_with_a_warning(
    page: str, api: str, is_same: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not refused: a UI may be served under another name than its API."""
    assert read_run_word(f"{page}/runs/flow-run/{RUN}", api) == RunId(RUN)
    host = page.removeprefix("http://")
    warning = f"rxflow: the URL is of {host}; the run is read from {api}\n"
    assert capsys.readouterr().err == ("" if is_same else warning)


REFUSED = {
    "empty": (" ", "is empty"),
    "another at-word": ("@first", "@latest:FLOW/DEPLOYMENT"),
    "latest of nothing": ("@latest: ", "is followed by a flow"),
    "a task run's page": (f"http://x/runs/task-run/{RUN}", "not the URL of a flow run"),
    "a page without an id": ("http://x/runs", "not the URL of a flow run"),
    "a malformed id": ("http://x/runs/flow-run/amber-fox", "not the URL of a flow run"),
    "a malformed URL": ("http://[x/runs", "is not a URL"),
    "a malformed port": (f"http://x:y/runs/flow-run/{RUN}", "is not a URL"),
    "an escape in a URL": ("http://x/\x1b[2J", r"'http://x/\\x1b\[2J' is not"),
}


@pytest.mark.parametrize(("word", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_word_without_meaning_is_refused(word: str, reason: str) -> None:
    """The error says what may be written, and repeats no control character."""
    with pytest.raises(click.UsageError, match=reason):
        read_run_word(word, API)


@given(st.text() | st.text("0123456789abcdefABCDEF-@:/[]", max_size=40))
def test_any_text_is_read_or_refused(word: str) -> None:
    """No text leads to another error, and each beginning of an id is one."""
    try:
        meaning = read_run_word(word, API)
    except click.UsageError:
        return
    if isinstance(meaning, NamedRun) and meaning.prefix is not None:
        rest = "00000000-0000-0000-0000-000000000000"[len(meaning.prefix) :]
        assert isinstance(read_run_word(meaning.prefix + rest, API), RunId)
