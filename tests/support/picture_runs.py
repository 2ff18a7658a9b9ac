"""Runs on fake servers that pictures are made of, and the trees that are read of them."""

from datetime import timedelta

from rxflow._pictures.run_report import RunReport
from rxflow._pictures.run_tree import RunNode, RunTree
from rxflow._pictures.time_bars import bars_of
from rxflow._views.run_report_lookups import read_run_report
from rxflow._views.run_tree_lookups import read_run_tree
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime


class NightlyRun:
    """A run on a Prefect 3 server, whose first second of running is the fourth of all.

    It fetches orders in two task runs, of which the first is retried after 2 s, and starts a
    subflow whose second page fails.
    """

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.server = FakePrefect3(clock=self.time)
        self.run_id = self.server.add_run(
            name="amber-fox", flow="nightly-report", state="SCHEDULED", tags=["etl", "prod"]
        )
        self.time.wait(4)
        self.server.set_state(self.run_id, "RUNNING")
        self.server.log(self.run_id, "fetching the orders of 2 regions")
        self.fetches = [self._task_run(f"fetch_orders-{number}") for number in range(2)]
        self.subflow_id = ""

    def fetch(self) -> None:
        """Go on for 6 s: fetch the orders, the second ones after 1 s, the first ones at last."""
        first, second = self.fetches
        self.time.wait(1)
        self.server.log(self.run_id, "no response", level=40, task_run_id=first)
        self.server.set_task_state(self.run_id, first, "SCHEDULED", "AwaitingRetry")
        self.server.set_task_state(self.run_id, second, "COMPLETED")
        self.time.wait(2)
        self.server.set_task_state(self.run_id, first, "RUNNING", "Retrying")
        self.time.wait(3)
        self.server.set_task_state(self.run_id, first, "COMPLETED")

    def publish(self) -> None:
        """Go on for 2 s: start a subflow with two pages."""
        parent = self.run_id
        self.subflow_id = self.server.add_run(
            name="lucky-bee", flow="publish-report", parent=parent, state="RUNNING"
        )
        for state in ("COMPLETED", "FAILED"):
            page = self._task_run(f"render_page-{state.lower()}", run_id=self.subflow_id)
            self.time.wait(1)
            self.server.log(self.subflow_id, f"the page is {state}", task_run_id=page)
            self.server.set_task_state(self.subflow_id, page, state)

    def fail(self) -> None:
        """End at once."""
        self.server.set_state(self.subflow_id, "FAILED", message="1/2 states failed.")
        self.server.set_state(self.run_id, "FAILED", message="1/3 states failed.")

    def to_end(self) -> "NightlyRun":
        """Go on to the end, 12 s after the run was created."""
        self.fetch()
        self.publish()
        self.fail()
        return self

    def tree(self, *, subflows: bool = True) -> RunTree:
        """Read the tree of the run as it is now."""
        return tree_of(self.server, self.run_id, subflows=subflows)

    def report(self) -> RunReport:
        """Read all of the run as it is now."""
        return report_of(self.server, self.run_id)

    def _task_run(self, name: str, run_id: str | None = None) -> str:
        return self.server.add_task_run(run_id or self.run_id, name=name, state="RUNNING")


def tree_of(server: FakePrefect1 | FakePrefect3, run_id: str, *, subflows: bool = True) -> RunTree:
    """Read the tree of a run."""
    return server.client().read(lambda limit: read_run_tree(run_id, limit, subflows=subflows))


def report_of(server: FakePrefect1 | FakePrefect3, run_id: str) -> RunReport:
    """Read all of a run."""
    return server.client().read(lambda limit: read_run_report(run_id, limit))


def nodes_of(tree: RunTree) -> dict[str, RunNode]:
    """Return the nodes of a tree by name."""
    return {place.node.name: place.node for place in tree.walk()}


def seconds(tree: RunTree, node: RunNode) -> list[tuple[str, float, float]]:
    """Return the bars of a node, in seconds since the root was created."""
    zero = tree.root.created
    return [
        (bar.outcome.value, _rounded(bar.start - zero), _rounded(bar.end - zero))
        for bar in bars_of(node, tree.now)
    ]


def _rounded(distance: timedelta) -> float:
    return round(distance.total_seconds(), 2)
