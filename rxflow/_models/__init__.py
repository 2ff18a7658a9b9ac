"""Frozen data: states, runs and other entities, times; validation of arguments; terminal text.

Belongs here: structs without behaviour beyond derived properties, what all kinds of events share,
tables over them, and pure functions over values that every layer needs. Does not belong here: a
server's JSON keys (`_backends`), the kinds of events (`rxflow.events`), anything that waits or
reads a clock.

Every layer above may import it; it imports `rxflow.errors` and `rxflow._escapes` only.
"""
