"""A watch without its I/O: one pure session that says which query comes next and what to emit.

Belongs here: reading a run, its states and task runs, the order of events, the fold, notices, late
starts, and the decision that a watch is over (`lifecycle`, the only place). Does not belong here:
threads, clocks, Rx (`_runtime`), log paging (`_logs`).

`_runtime`, `_views` and the layers above them may import it.
"""
