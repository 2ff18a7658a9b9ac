"""The demo's flow, executed by prefect in another process: the only file that imports prefect.

It is what the demo watches and not a part of the library: no module imports it, and it imports
nothing of rxflow. ``python _demo_flow.py FLOW_RUN_ID`` executes a run that exists already.
"""

import sys
from time import sleep as pause  # noqa: TID251 - the work that the tasks simulate
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.flow_engine import load_flow_run, run_flow
from prefect.runtime import task_run

REGIONS = ("north", "south", "west")


@task(retries=1, retry_delay_seconds=1)
def fetch_orders(region: str) -> int:
    """Fetch a region's orders; the first attempt in the north fails."""
    log = get_run_logger()
    log.info("querying the %s warehouse", region)
    pause(1.0)
    if region == "north" and task_run.run_count == 1:
        raise ConnectionError("the north warehouse did not respond")
    orders = 120 + 10 * len(region)
    log.info("%s: %d orders", region, orders)
    return orders


@task
def check_prices(orders: int) -> int:
    """Leave out the orders that have no price, with a warning."""
    log = get_run_logger()
    pause(1.0)
    log.warning("2 of %d orders have no price and are left out", orders)
    return orders - 2


@task
def render_page(number: int) -> str:
    """Render one page of the report."""
    pause(0.7)
    get_run_logger().info("page %d is done", number)
    return f"page {number}"


@flow(name="publish-report")
def publish_report(orders: int) -> list[str]:
    """Publish a report of three pages: the subflow."""
    log = get_run_logger()
    log.info("publishing a report on %d orders", orders)
    pages = [render_page(number) for number in (1, 2, 3)]
    log.info("%d pages published", len(pages))
    return pages


@flow(name="nightly-report")
def nightly_report() -> int:
    """Fetch orders, check them, publish a report."""
    log = get_run_logger()
    log.info("fetching the orders of %d regions", len(REGIONS))
    fetches = [fetch_orders.submit(region) for region in REGIONS]
    orders: int = check_prices(sum(future.result() for future in fetches))
    publish_report(orders)
    pause(1.0)
    log.info("the nightly report is out: %d orders", orders)
    return orders


if __name__ == "__main__":
    run_flow(nightly_report, flow_run=load_flow_run(UUID(sys.argv[1])))
