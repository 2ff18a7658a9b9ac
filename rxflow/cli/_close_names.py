"""Names that are close to one which nothing has, for the sentence that says so."""

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rxflow import RxflowError
from rxflow._escapes import one_line
from rxflow._models.entities import Flow, FlowRun
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import FlowsQuery, Query, RunFilter, RunsQuery
from rxflow._views.flow_run_search import read_due
from rxflow.cli._suggestions import question

if TYPE_CHECKING:
    from rxflow import Client

__all__ = ["close_filter_question", "close_names_question"]

_MOST = 3
_LEAST_LETTERS = 3  # of a text that is looked for within names


def close_names_question(text: str, client: "Client") -> str:
    """Return a question that names what may be meant in place of a run; "" if nothing is close.

    That is the latest run of the flow which has the name, for which one request is sent, or else
    runs. They are looked for among the latest ones, as many as a server sends at once.

    Args:
        text: What is the name of no run.
        client: The client of the server.
    """
    names: dict[str, None] = {}
    with suppress(RxflowError):  # The error that the question is added to matters more.
        # Behind @latest: a text with a slash is a deployment.
        if "/" not in text and client.read(lambda _: _page(FlowsQuery(name=text))).rows:
            latest = question([f"@latest:{one_line(text)}"])
            return f", but a flow{latest}"
        runs = client.read(lambda rows: read_due(RunFilter(), rows, rows)).rows
        names = dict.fromkeys(run.name for run in runs)
    return question([one_line(name) for name in _close_names(text, [*names])])


def close_filter_question(where: RunFilter, client: "Client") -> str:
    """Return a question that names what may be meant by a filter; "" if nothing is close.

    For the names of flows one request is sent, and one for all others, which are looked for among
    the latest runs, as many as a server sends at once. The names of deployments are not read.

    Args:
        where: A filter that no run matches.
        client: The client of the server.
    """
    flows = (*where.flow_names, *(flow for flow, _ in where.deployment_names))
    with suppress(RxflowError):  # The sentence that the question is added to matters more.
        if flows and (found := _question(flows, [row.name for row in _flows(client)])):
            return found
        if where.tags or where.names or where.work_pools:
            runs = _latest_runs(where, client)
            return (
                _question(where.tags, (tag for run in runs for tag in run.tags))
                or _question(where.work_pools, (run.work_pool_name or "" for run in runs))
                or _question(where.names, (run.name for run in runs))
            )
    return ""


def _flows(client: "Client") -> tuple[Flow, ...]:
    return client.read(lambda _: _page(FlowsQuery())).rows


def _latest_runs(where: RunFilter, client: "Client") -> tuple[FlowRun, ...]:
    """Read the latest runs of the flows that are meant, or of any."""
    flows = RunFilter(flow_ids=where.flow_ids, flow_names=where.flow_names)
    return client.read(
        lambda rows: _page(RunsQuery(where=flows, newest_first=True, limit=rows))
    ).rows


def _page(query: Query) -> Poll[Page[Any]]:
    return (yield query)


def _question(texts: Iterable[str], names: Iterable[str]) -> str:
    """Return a question that names what may be meant by the first text that is no such name."""
    known = [name for name in dict.fromkeys(names) if name]
    for text in texts:
        if text not in known and (close := _close_names(text, known)):
            return question([one_line(name) for name in close])
    return ""


def _close_names(text: str, names: list[str]) -> list[str]:
    """Return the names that have a text in them, and then those that are like it."""
    written = text.strip().lower()
    lower = {name.lower(): name for name in reversed(names)}  # the latest of those alike counts
    within = [name for name in lower if written in name] if len(written) >= _LEAST_LETTERS else []
    like = get_close_matches(written, lower, _MOST)
    return [lower[name] for name in dict.fromkeys([*reversed(within), *like])][:_MOST]
