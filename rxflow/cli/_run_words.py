"""What people write for a run, read without the server: an id, a URL, ``@latest``, or a text.

Which run a text is the name of, or the beginning of whose id, is found by `_selection`.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

import click

from rxflow._escapes import one_line
from rxflow.cli._output import report

__all__ = [
    "FROM_INPUT",
    "LatestRun",
    "NamedRun",
    "RunId",
    "RunWord",
    "is_short_prefix",
    "read_run_word",
    "without_ellipsis",
]

FROM_INPUT = "-"
"""Stands for the words on standard input."""

_LATEST = "@latest"
_RUN_PAGES = {"flow-run", "flow_runs"}
"""What precedes a flow run's id in a URL: of the UIs of all versions, and of the API."""

_SAME_HOSTS: Mapping[str, str] = {
    "app.prefect.cloud": "api.prefect.cloud",
    "cloud.prefect.io": "api.prefect.io",  # of Prefect 1
    **dict.fromkeys(("127.0.0.1", "::1", "0.0.0.0"), "localhost"),  # noqa: S104 # nosec B104
}
"""Hosts that serve the pages of an API, or are the same machine as it, by other names."""

_PREFECT_1_UI_PORT = 8080

_LEAST_DIGITS = 4
_ID_DIGITS = 32
_DASHES = (8, 13, 18, 23)  # where an id has them
_ELLIPSES = ("…", "...")  # at the end of what a table had no room for


class RunId(NamedTuple):
    """A run's whole id."""

    id: str


class NamedRun(NamedTuple):
    """The name of a run, or the beginning of its id.

    Attributes:
        text: The name.
        prefix: The beginning of an id, in its canonical form; None if the text cannot be one.
    """

    text: str
    prefix: str | None


class LatestRun(NamedTuple):
    """The run that started last, or is due.

    Attributes:
        filters: The deployment or the flow whose runs are meant, as in `rxflow.list_flow_runs`.
    """

    filters: Mapping[str, str]


RunWord = RunId | NamedRun | LatestRun


def read_run_word(word: str, api_url: str) -> RunWord:
    """Read what was written for a run.

    Args:
        word: What was written.
        api_url: The API's URL, to find that the URL of a run is that of another workspace.

    Raises:
        click.UsageError: A URL is not that of a flow run, or of another workspace; or the word is
            empty, or begins with ``@`` and has no meaning.
    """
    text = word.strip()
    if not text:
        raise click.UsageError("The name of a run is empty.")
    if text == _LATEST:
        return LatestRun({})
    if text.startswith(f"{_LATEST}:"):
        return LatestRun(_deployment_or_flow(text.removeprefix(f"{_LATEST}:")))
    if text.startswith("@"):
        raise click.UsageError(
            f"{_shown(text)} is not a run; pass @latest, or @latest:FLOW/DEPLOYMENT."
        )
    if "://" in text:
        return RunId(_id_in_url(text, api_url))
    run_id = _id_of(text)
    if run_id is not None:
        return RunId(run_id)
    return NamedRun(text, _prefix_of(without_ellipsis(text)))


def run_id_of(word: str) -> str | None:
    """Return the run's id in a word that is a whole id or the URL of a run's page; None without."""
    text = word.strip()
    if "://" not in text:
        return _id_of(text)
    try:
        return _id_in_path(_path_of(urlsplit(text)))
    except ValueError:
        return None


def is_short_prefix(text: str) -> bool:
    """Whether a text may be the beginning of an id, but is too short for that."""
    begun = without_ellipsis(text).lower()
    return re.fullmatch(f"[0-9a-f]{{1,{_LEAST_DIGITS - 1}}}", begun) is not None


def without_ellipsis(text: str) -> str:
    """Return a text without the ellipsis with which a terminal has cut it off, if it has one."""
    for ellipsis in _ELLIPSES:
        text = text.removesuffix(ellipsis)
    return text


def _deployment_or_flow(name: str) -> Mapping[str, str]:
    if not name.strip():
        raise click.UsageError("@latest: is followed by a flow, or by FLOW/DEPLOYMENT.")
    return {"deployment": name} if "/" in name else {"flow": name}


def _id_of(text: str) -> str | None:
    try:
        return str(UUID(text)) if text.replace("-", "").isalnum() else None
    except ValueError:
        return None


def _prefix_of(text: str) -> str | None:
    """Return the canonical form of the beginning of an id; None if a text cannot be one."""
    digits = text.lower().replace("-", "")
    if not _LEAST_DIGITS <= len(digits) < _ID_DIGITS or not re.fullmatch("[0-9a-f]+", digits):
        return None
    dashed = digits
    for place in _DASHES:
        if len(dashed) > place:
            dashed = f"{dashed[:place]}-{dashed[place:]}"
    return dashed if "-" not in text or text.lower().rstrip("-") == dashed else None


def _id_in_url(text: str, api_url: str) -> str:
    try:
        url = urlsplit(text)
    except ValueError:
        raise click.UsageError(f"{_shown(text)} is not a URL.") from None
    parts = _path_of(url)
    run_id = _id_in_path(parts)
    if run_id is None:
        raise click.UsageError(
            f"{_shown(text)} is not the URL of a flow run, which ends in /flow-run/ and the run's "
            "id."
        )
    _check_workspace(url, parts, api_url)
    _compare_hosts(url, api_url)
    return run_id


def _path_of(url: SplitResult) -> list[str]:
    return [unquote(part) for part in url.path.split("/") if part]


def _id_in_path(parts: list[str]) -> str | None:
    """Return the id that follows the name of a run's page; None if there is none."""
    found = (_id_of(part) for page, part in pairwise(parts) if page in _RUN_PAGES)
    return next((run_id for run_id in found if run_id is not None), None)


def _check_workspace(url: SplitResult, parts: list[str], api_url: str) -> None:
    """Reject the URL of a run in another workspace of Prefect Cloud."""
    wanted = _workspace_of(parts)
    if wanted is None or wanted == _workspace_of(urlsplit(api_url).path.split("/")):
        return
    raise click.UsageError(
        f"The run belongs to workspace {_shown(wanted[1])} of {url.hostname}, and the API that is "
        f"read from is {api_url}; choose a profile of that workspace with --profile."
    )


def _compare_hosts(url: SplitResult, api_url: str) -> None:
    """Warn of a URL that may be of another server than the one that is read from."""
    page, api = _host_of(url), _host_of(urlsplit(api_url))
    if page == api or page == (api[0], _PREFECT_1_UI_PORT):
        return
    # Not refused, since a UI may be served under another name than its API.
    report(f"the URL is of {one_line(url.netloc)}; the run is read from {api_url}")


def _host_of(url: SplitResult) -> tuple[str, int]:
    """Return where a server is, with one name for each server that has several."""
    host = (url.hostname or "").rstrip(".")
    try:
        port = url.port
    except ValueError:
        raise click.UsageError(f"{_shown(url.geturl())} is not a URL.") from None
    return _SAME_HOSTS.get(host, host), port or (443 if url.scheme == "https" else 80)


def _workspace_of(parts: list[str]) -> tuple[str, str] | None:
    """Return the ids of an account and a workspace in a path of Prefect Cloud; None without."""
    following = dict(pairwise(parts))
    account = following.get("account") or following.get("accounts")
    workspace = following.get("workspace") or following.get("workspaces")
    return (account.lower(), workspace.lower()) if account and workspace else None


def _shown(text: str) -> str:
    return f"'{one_line(text)}'"
