"""What is required of a broker for groups: several readers that share the pages of a workspace.

    logs --> page --> one member of the group --ack--> the page is done
                        |
                        +-- no sign of life for some seconds --> another member

Each page goes to one member, and again to another one if the member has gone before it acknowledged
the page. So no page is left out, one may come twice, and the pages of a run have no order.

Belongs here: the protocol, in terms that brokers can meet. Does not belong here: how a broker does
(`_nats_group`, `_redis_group`, `_memory_group`), or when a page is acknowledged (`_group_channel`).
"""

from typing import NamedTuple, Protocol

from rxflow.relay._broker import StoredPage


class GroupPage(NamedTuple):
    """A page that one member of a group has.

    Attributes:
        run_id: The run.
        stored: The page; whether nothing follows it is not known.
        receipt: By which the broker knows that the member has it.
    """

    run_id: str
    stored: StoredPage
    receipt: str


class GroupMember(Protocol):
    """Takes pages of a group, one at a time. All methods but `keep` are called by one task."""

    async def next_page(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> GroupPage | None:
        """Return the next page that no other member has; None if there is none for some seconds.

        Raises:
            InvalidRelayLog: It is not a page of a relay; another member gets it.
            BrokerFailed: The broker refuses it.
        """
        ...

    async def ack(self, page: GroupPage) -> None:
        """Say that a page is done, so that no member gets it again.

        It is repeated while the broker does not reply, for as long as the page is the member's.

        Raises:
            BrokerFailed: The broker refuses it.
        """
        ...

    async def keep(self, page: GroupPage) -> None:
        """Say that the member is still at work on a page. What fails is no error.

        Raises:
            BrokerFailed: The broker refuses it.
        """
        ...

    async def give_back(self, page: GroupPage) -> None:
        """Let another member have a page at once. What fails is no error.

        Raises:
            BrokerFailed: The broker refuses it.
        """
        ...

    async def aclose(self) -> None:
        """Release what the broker and its client hold for it. May be called twice."""
        ...


class GroupOptions(NamedTuple):
    """Which pages a group shares, and how. All members must have the same.

    Attributes:
        group: The group's name.
        run_id: The run whose pages are shared; None for all runs of the workspace.
        redeliver_seconds: Without a sign of life of a member for so long, others get its pages.
    """

    group: str
    run_id: str | None
    redeliver_seconds: float
