"""Time and threads: clocks, schedulers, workers, the engine, iteration, operator subscriptions.

Belongs here: everything that waits, spawns a thread or a task, or subscribes with a scheduler. Does
not belong here: decisions (`_watching`, `_operators`), HTTP (`_net`).

`client`, `stream`, `watch`, `operators` and the layers above them may import it.
"""
