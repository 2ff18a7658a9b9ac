"""Pure machines and predicates behind `rxflow.operators`.

Belongs here: what an operator decides, given items and the time. Does not belong here: Rx, locks
and schedulers; `rxflow.operators` puts a machine into a subscription of `_runtime`.

`rxflow.operators` may import it, `rxflow.stream` for the types of its methods, and `rxflow` for
the public structs.
"""
