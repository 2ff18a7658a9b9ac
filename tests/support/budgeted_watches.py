"""Watch hostile worlds with a budget of requests (`requests_per_minute`).

The budget is drawn by a generator of its own, so that a seed's world is the one without a budget.
Nothing may be lost for it, and no minute may have more requests.
"""

from random import Random
from typing import Any

import httpx
from hostile_worlds import HostileWatch, Result
from hostile_worlds_prefect1 import Prefect1HostileWatch
from many_run_worlds import ManyRunKind, ManyRunWatch
from msgspec.structs import replace

from rxflow._watching.watch_spec import WatchSpec

_BUDGETS = (6, 20, 60, 240)
_ROW_LIMIT_REQUESTS = 8
_MINUTE = 60.0
_EXACT = 1e-6  # seconds, the finest step of the clock


class _Budget:
    """A budget, and the requests that were sent."""

    def __init__(self, seed: int) -> None:
        self.per_minute = Random(f"budget {seed}").choice(_BUDGETS)
        self.sent: list[float] = []

    def check(self, result: Result, beside: int = 0) -> Result:
        """Add the rule that is broken if a minute has more requests, but for some beside them."""
        windows = zip(self.sent, self.sent[self.per_minute + beside :], strict=False)
        if any(last - first < _MINUTE - _EXACT for first, last in windows):
            result.broken.append("I10: a minute has more requests than the budget")
        return result


class BudgetedWatch(HostileWatch):
    """A watch of a Prefect 3 with a budget; what it sends is counted by the server."""

    longest = 10 * 86_400.0

    def __init__(self, seed: int, *arguments: Any) -> None:
        """Draw the world and the budget from the seed."""
        self.budget = _Budget(seed)
        super().__init__(seed, *arguments)
        # After a retry that was delayed, a query waits for the budget; and so do those of a poll.
        self.longest_pause += 2 * _MINUTE / self.budget.per_minute + _MINUTE / 6

    def _spec(self) -> WatchSpec:
        return replace(super()._spec(), requests_per_minute=self.budget.per_minute)

    def _note_rows(self, request: httpx.Request) -> None:
        self.budget.sent.append(self.now)
        super()._note_rows(request)

    def watch(self) -> Result:
        """Watch the world as without a budget, and check the requests."""
        return self.budget.check(super().watch())


class BudgetedPrefect1Watch(BudgetedWatch, Prefect1HostileWatch):
    """A watch of a Prefect 1 with a budget, beside which it finds out the server's row limit."""

    def watch(self) -> Result:
        """Watch the world as without a budget, and check the queries, and the requests."""
        result = super(BudgetedWatch, self).watch()
        requests, self.budget.sent = self.budget.sent, [at for at, _ in self.watched.sent]
        self.budget.check(result)
        self.budget.sent = requests
        return self.budget.check(result, _ROW_LIMIT_REQUESTS)


class BudgetedManyRunWatch(ManyRunWatch):
    """A watch of many runs with one budget."""

    longest = 30 * 86_400.0

    def __init__(self, seed: int, kind: ManyRunKind | None = None) -> None:
        """Draw the world and the budget from the seed."""
        self.budget = _Budget(seed)
        super().__init__(seed, kind)
        self.longest_pause += 2 * _MINUTE / self.budget.per_minute + _MINUTE / 6

    def _spec(self) -> WatchSpec:
        return replace(super()._spec(), requests_per_minute=self.budget.per_minute)

    def _note(self, request: httpx.Request) -> None:
        self.budget.sent.append(self.now)
        super()._note(request)

    def watch(self) -> Result:
        """Watch the world as without a budget, and check the requests."""
        return self.budget.check(super().watch())
