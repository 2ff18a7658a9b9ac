"""Asking: queries and their pages, how often to ask, and how patient to be when asking fails.

A *poll* is a generator that yields queries and is sent pages; what it learnt it keeps to itself
until the last page is there, so a poll that fails half way has changed nothing. Everything here
is told the time and never waits; the one source of chance is handed in.
"""

import math
from collections.abc import Generator
from datetime import UTC, datetime
from enum import Enum
from random import Random
from typing import Any, Generic, TypeVar

import msgspec

from rxflow._model import (
    Agent,
    Deployment,
    Flow,
    FlowRun,
    Server,
    State,
    StoredResult,
    TaskRun,
    Worker,
    WorkPool,
)
from rxflow.errors import (
    AuthError,
    BadResponse,
    NotAPrefectApi,
    RunNotFound,
    RxflowError,
    ServerError,
    Unreachable,
)
from rxflow.events import FlowRunLog

T = TypeVar("T")

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)

PAGE_LIMIT = 200
"""Rows to ask for at once until a server names a lower limit: the default of Prefect 3.8.8."""


class Now(msgspec.Struct, frozen=True):
    """The time, twice.

    Attributes:
        mono: Seconds of a clock that never steps: for durations.
        utc: Aware datetime: for stamps.
    """

    mono: float
    utc: datetime


# -- questions and answers ----------------------------------------------------------------------


class ServerQuery(msgspec.Struct, frozen=True):
    """Who answers? One `Server`."""


class RunQuery(msgspec.Struct, frozen=True):
    """One flow run's row: exactly one `FlowRun`."""

    flow_run_id: str


class StatesQuery(msgspec.Struct, frozen=True):
    """All states that a flow run was ever in, by time.

    Attributes:
        offset: How many to leave out, for the rest of an answer.
        limit: How many in one answer, where there may be a rest.
    """

    flow_run_id: str
    offset: int = 0
    limit: int = PAGE_LIMIT


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Log rows of some runs, by their timestamp; rows of one timestamp come in any order.

    Attributes:
        after: Only rows of this time and later.
        before: Only rows of this time and earlier.
        level: Only rows of this level and above; 0 is all.
        descending: Whether the newest come first.
        offset: How many rows to leave out, from the first on.
        limit: How many rows at the most.
    """

    flow_run_ids: tuple[str, ...]
    after: datetime | None = None
    before: datetime | None = None
    level: int = 0
    descending: bool = False
    offset: int = 0
    limit: int = PAGE_LIMIT


class TaskRunsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Task runs of a flow run, in an order that does not change while they run.

    Attributes:
        task_run_ids: Only these; none are all.
        task_key: Only runs of this task, where the server can tell; "" is any.
        map_index: Only those with this map index, where the server numbers them; None is all.
    """

    flow_run_id: str
    task_run_ids: tuple[str, ...] = ()
    task_key: str = ""
    map_index: int | None = None
    offset: int = 0
    limit: int = PAGE_LIMIT


class TaskRunQuery(msgspec.Struct, frozen=True):
    """A task run: one `TaskRun`, or no row."""

    task_run_id: str


class TaskRunStatesQuery(msgspec.Struct, frozen=True):
    """All states that a task run was ever in, by time."""

    task_run_id: str


class ResultQuery(msgspec.Struct, frozen=True):
    """Where a task run's result is: one `StoredResult`, or no row for no such task run."""

    task_run_id: str


class ResultsQuery(msgspec.Struct, frozen=True):
    """Where the results of mapped task runs are: a `StoredResult` each, in any order.

    No rows where mapped task runs have no parent.
    """

    task_run_ids: tuple[str, ...]


class FlowsQuery(msgspec.Struct, frozen=True):
    """The flows of a name, of a project, or of a group of versions; the newest first.

    Attributes:
        name: Only flows of this name; "" is any.
        project_name: Only flows of this project; "" is any, None is no project.
        flow_group_id: Only versions of this flow; "" is any.
    """

    name: str = ""
    project_name: str | None = ""
    flow_group_id: str = ""


class FlowQuery(msgspec.Struct, frozen=True):
    """A flow: one `Flow`, or no row."""

    flow_id: str


class DeploymentQuery(msgspec.Struct, frozen=True):
    """A deployment: one `Deployment`, or no row."""

    deployment_id: str


class WorkPoolQuery(msgspec.Struct, frozen=True):
    """A work pool: one `WorkPool`, or no row."""

    name: str


class WorkPoolsQuery(msgspec.Struct, frozen=True):
    """All work pools; none where there are agents instead.

    Attributes:
        offset: How many to leave out, for the rest of an answer.
    """

    offset: int = 0


class WorkersQuery(msgspec.Struct, frozen=True):
    """The workers of a work pool; none where the pool does not exist."""

    work_pool_name: str


class AgentsQuery(msgspec.Struct, frozen=True):
    """All agents; none where there are workers instead.

    Attributes:
        offset: How many to leave out, for the rest of an answer.
        limit: How many in one answer, where there may be a rest.
    """

    offset: int = 0
    limit: int = PAGE_LIMIT


Query = (
    ServerQuery
    | RunQuery
    | StatesQuery
    | LogsQuery
    | TaskRunsQuery
    | TaskRunQuery
    | TaskRunStatesQuery
    | ResultQuery
    | ResultsQuery
    | FlowsQuery
    | FlowQuery
    | DeploymentQuery
    | WorkPoolQuery
    | WorkPoolsQuery
    | WorkersQuery
    | AgentsQuery
)

Row = (
    Server
    | FlowRun
    | State
    | FlowRunLog
    | TaskRun
    | StoredResult
    | Flow
    | Deployment
    | WorkPool
    | Worker
    | Agent
)


class Malformed(msgspec.Struct, frozen=True):
    """A row that cannot be read.

    Attributes:
        id: The row's id, or a digest of the row where not even that can be read.
        reason: What is wrong with it, with the JSON path.
        flow_run_id: The run it belongs to, of a log row; as good as can be read, like its times.
        timestamp: When it was written; that of the row before it where it cannot be read.
        created: When the server stored it; the same.
    """

    id: str
    reason: str
    flow_run_id: str = ""
    timestamp: datetime = _BEFORE_ALL
    created: datetime = _BEFORE_ALL


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A good answer.

    Attributes:
        rows: The rows, in the server's order.
        server_time: When the server answered, by its own clock, to the second.
        malformed: Rows that were left out of ``rows``.
        rest: The question for more rows, where there may be more than one answer holds.
    """

    rows: tuple[T, ...]
    server_time: datetime | None = None
    malformed: tuple[Malformed, ...] = ()
    rest: "Query | None" = None

    @property
    def count(self) -> int:
        """How many rows the server sent."""
        return len(self.rows) + len(self.malformed)


Poll = Generator[Query, Page[Any], T]
"""Yields queries, is sent a page for each, returns what it learnt."""


def who_answers() -> Poll[Server]:
    """Ask who answers."""
    page: Page[Server] = yield ServerQuery()
    return page.rows[0]


def whole(query: Query) -> Poll[Page[Any]]:
    """Ask for all rows of an answer, however many answers they take."""
    page: Page[Any] = yield query
    while page.rest is not None:
        more: Page[Any] = yield page.rest
        page = Page(
            (*page.rows, *more.rows),
            more.server_time or page.server_time,
            (*page.malformed, *more.malformed),
            more.rest,
        )
    return page


# -- trouble ------------------------------------------------------------------------------------


class Trouble(Enum):
    """Why there is no good answer; what follows from each is in `_PATIENCE`."""

    REFUSED = "refused"  # nobody listens there
    NETWORK = "network"  # no name, a time-out, a connection that broke
    CERTIFICATE = "certificate"  # whoever answers cannot prove who it is
    BUSY = "busy"  # 429, or 503: come again later
    SERVER = "server"  # another 5xx
    GARBLED = "garbled"  # cannot be parsed
    NOT_AN_API = "not an api"  # something else than a Prefect API answered
    AUTH = "auth"  # 401 or 403
    RUN_MISSING = "run missing"  # the API says that there is no such run
    REJECTED = "rejected"  # the API does not take the question: a defect of ours, or an old server
    PAGE_LIMIT = "page limit"  # ask for fewer rows


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A question without a good answer.

    Attributes:
        text: What happened, in words fit for a user: no secrets, no response bodies.
        retry_after: Seconds that the server asked to be left alone for.
        limit: The most rows the server gives at once, with `Trouble.PAGE_LIMIT`.
    """

    trouble: Trouble
    text: str
    retry_after: float | None = None
    limit: int | None = None


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of trouble leads to; times in seconds, None for never, 0 for at once."""

    error: type[RxflowError]
    attach: float | None  # before the first poll was answered to its end: how long to try
    watch: float | None  # after it
    cap: float  # the longest wait between two tries


ATTACH_TIMEOUT = 30.0
AUTH_GRACE = 60.0
_GARBLED_IN_A_ROW = 3
_BASE = 0.5

# Refused connections end as soon as the server is up again, so they are tried more often.
_PATIENCE = {
    Trouble.REFUSED: _Rule(error=Unreachable, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    Trouble.NETWORK: _Rule(error=Unreachable, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    Trouble.CERTIFICATE: _Rule(error=Unreachable, attach=0, watch=0, cap=5),
    Trouble.BUSY: _Rule(error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30),
    Trouble.SERVER: _Rule(error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30),
    Trouble.GARBLED: _Rule(error=BadResponse, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    Trouble.NOT_AN_API: _Rule(error=NotAPrefectApi, attach=0, watch=None, cap=30),
    Trouble.AUTH: _Rule(error=AuthError, attach=0, watch=AUTH_GRACE, cap=5),
    Trouble.RUN_MISSING: _Rule(error=RunNotFound, attach=0, watch=None, cap=2.5),
    Trouble.REJECTED: _Rule(error=BadResponse, attach=0, watch=0, cap=5),
    Trouble.PAGE_LIMIT: _Rule(error=BadResponse, attach=0, watch=0, cap=5),
}


class Outage(msgspec.Struct, frozen=True):
    """A time in which questions had no good answer, in monotonic seconds."""

    began: float
    ended: float


class Patience:
    """How long to go on asking a server that does not answer well, and how often.

    Waits are drawn evenly from nothing to a bound that doubles with each failure in a row (full
    jitter), after what the server asks for.
    """

    def __init__(self, random: Random) -> None:
        """Start with all the patience.

        Args:
            random: The source of jitter.
        """
        self._random = random
        self._failures = 0
        self._garbled = 0
        self._kinds: dict[Trouble, float] = {}
        self._since: float | None = None
        self._question: float | None = None
        self._attached = False

    @property
    def since(self) -> float | None:
        """Since when there has been no good answer, in monotonic seconds; None while all is well.

        That is when the question was sent that waits for its answer, or, once one has failed, when
        the poll began that could not be answered to its end since.
        """
        return self._since if self._failures else self._question

    def asked(self, now: Now) -> None:
        """Note that a question of a poll is sent."""
        self._question = now.mono
        if self._since is None:
            self._since = now.mono

    def answered(self, now: Now) -> Outage | None:
        """Note that a poll was answered to its end.

        Returns:
            The outage that it ends, if questions had failed before it.
        """
        failed, began = self._failures, self._since
        self._failures = self._garbled = 0
        self._since = self._question = None
        self._kinds.clear()
        self._attached = True
        return Outage(began, now.mono) if failed and began is not None else None

    def failed(self, failure: Failure, now: Now) -> float | RxflowError:
        """Note a failure.

        Returns:
            Seconds to wait before asking again, or the error to end with.
        """
        rule = _PATIENCE[failure.trouble]
        self._failures += 1
        self._garbled = self._garbled + 1 if failure.trouble is Trouble.GARBLED else 0
        began = self._since if self._since is not None else now.mono
        # A grace is for one kind of trouble: an outage before it has not used it up.
        of_its_kind = self._kinds.setdefault(failure.trouble, now.mono)
        bound = rule.attach if not self._attached else rule.watch
        left = math.inf
        if bound is not None:
            left = bound - (now.mono - (of_its_kind if self._attached else began))
        if left <= 0 or self._garbled >= _GARBLED_IN_A_ROW:
            return rule.error(failure.text)
        wait = self._random.uniform(0, min(rule.cap, _BASE * 2 ** min(self._failures - 1, 10)))
        if failure.retry_after is not None:
            wait += failure.retry_after
        return min(wait, left)


class Interval:
    """The time between two polls: short while things happen, longer while nothing does."""

    def __init__(
        self, random: Random, *, shortest: float = 0.5, longest: float = 5.0, growth: float = 1.5
    ) -> None:
        """Start at the shortest.

        Args:
            random: The source of jitter, a tenth either way.
            shortest: Seconds, right after something happened.
            longest: Seconds, when nothing has happened for long.
            growth: Factor from one idle poll to the next.
        """
        self._random = random
        self._shortest, self._longest, self._growth = shortest, longest, growth
        self._seconds = shortest

    def after(self, *, something_happened: bool) -> float:
        """Seconds from a poll to the next."""
        grown = min(self._longest, self._seconds * self._growth)
        self._seconds = self._shortest if something_happened else grown
        return self._seconds * self._random.uniform(0.9, 1.1)
