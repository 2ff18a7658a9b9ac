"""Pure machines behind `rxflow.operators`: predicates, queues, windows, detectors.

Belongs here: what an operator decides, given items and the time. Does not belong here: Rx, locks,
schedulers; `rxflow.operators` puts a machine into a subscription of `_runtime`.

`rxflow.operators` may import it, and `rxflow` for the public structs.
"""
