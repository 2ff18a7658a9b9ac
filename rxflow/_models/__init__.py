"""Frozen data: runs, states and other entities, times, and the validation of arguments.

Belongs here: structs without behaviour beyond derived properties, tables over them, and the checks
that turn a caller's argument into a canonical value. Does not belong here: a server's JSON keys
(`_backends`), events (`rxflow.events`), anything that waits or reads a clock.

Every layer above may import it; it imports `rxflow.errors` only.
"""
