"""Whether a relay can work, for people and monitors."""

from rxflow._runtime.clocks import real_now
from rxflow.relay._broker import Broker
from rxflow.relay._figures import Figures

SILENCE_LIMIT = 60.0
"""Seconds without a good reply of Prefect's server, or of the broker, after which a relay is not
healthy. Runs of which a server announces each change are polled every 30 s."""


class Health:
    """The health of one relay."""

    def __init__(self, figures: Figures, broker: Broker) -> None:
        """Begin now.

        Args:
            figures: What the relay has done and is doing.
            broker: Its connection to the broker.
        """
        self._figures = figures
        self._broker = broker
        self._began = real_now().mono

    def wrong(self) -> str | None:
        """Return what is wrong; None if the relay is healthy.

        A relay without a share is healthy: it stands by. So is one that has nothing to watch.
        """
        figures, now = self._figures, real_now().mono
        if self._broker.refusal is not None:
            return f"the broker stores nothing: {self._broker.refusal}"
        if self._broker.is_full:
            return "the broker is full"
        if figures.foreign_shards:
            return (
                f"another relay of the workspace has --shards {figures.foreign_shards}; start all "
                "with the same number"
            )
        unheard = now - max(figures.heard_at, self._began)
        if unheard > SILENCE_LIMIT:
            return f"the broker has not replied for {unheard:.0f} s"
        unpolled = now - max(figures.polled_at, figures.polls_since, self._began)
        if figures.leases and unpolled > SILENCE_LIMIT:
            return f"Prefect's server has given no good reply for {unpolled:.0f} s"
        return None
