"""Forks: reset what holds a lock, a thread or a socket when a forked child starts.

A child inherits locks in any state, no thread but the one that forked, and the parent's sockets. A
byte that it sends or reads there is one that the parent loses. So whatever has one of these is
registered here, and is reset in the child before any other code runs there.

Belongs here: the registration, the lock that forks wait for, and the error of what a child cannot
continue. Does not belong here: how a thing is reset; each class that registers has a
`reset_after_fork`.
"""

import os
import threading
from typing import Protocol
from weakref import WeakSet

from rxflow.errors import WatchInherited


class Resettable(Protocol):
    """Has state that a forked child must not use."""

    def reset_after_fork(self) -> None:
        """Replace locks and drop what is the parent's, without using either."""
        ...


# At-fork functions cannot be unregistered, so there is one, and the objects are held weakly.
_registered: WeakSet[Resettable] = WeakSet()

no_fork = threading.RLock()
"""Held while a thread of rxflow imports a module or makes a TLS context, so that no process is
forked meanwhile: in the child the lock of the module, or that of OpenSSL, would never be free."""


def register(resettable: Resettable) -> None:
    """Call an object's `reset_after_fork` in each forked child for as long as the object lives."""
    _registered.add(resettable)


def inherited_watch() -> WatchInherited:
    """Build the error for a loop or subscription that a child was to continue."""
    return WatchInherited(
        "This watch was started before the process was forked, and continues in the parent alone; "
        "start one in the child: call watch_flow_run and iterate or subscribe to it there"
    )


def _reset_registered() -> None:
    for resettable in list(_registered):
        resettable.reset_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=no_fork.acquire,
        after_in_parent=no_fork.release,
        after_in_child=no_fork.release,
    )
    os.register_at_fork(after_in_child=_reset_registered)
