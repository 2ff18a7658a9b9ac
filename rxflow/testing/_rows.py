"""What rows of either fake server are made of: their type and their ids.

Belongs here: what both kinds of rows share. Does not belong here: which columns a row has, which is
in `_prefect3/rows.py` and `_prefect1/rows.py`.
"""

import uuid
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

Row = dict[str, Any]

Shuffle = Callable[[list[Row]], object]
"""Puts rows in another order, in place, before they are sorted."""


def uuid4(random: Random) -> str:
    """Draw a version 4 UUID, which holds random bits only.

    Args:
        random: Draws the bits; the same seed draws the same ids.
    """
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def uuid7(now: datetime, random: Random) -> str:
    """Draw a version 7 UUID, which begins with a time, so that ids sort by time, to the ms.

    Args:
        now: The time.
        random: Draws the other bits; the same seed draws the same bits.
    """
    ms = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    value = (ms << 80) | random.getrandbits(80)
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))
