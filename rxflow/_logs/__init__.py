"""The count-probe cursor: reads the log rows of runs, each once, and proves that none is missing.

Belongs here: the ledger of delivered rows, reading the server's log table in pages, the search for
rows that a count says are missing, the forecast of new rows. Does not belong here: states, tasks
and the end of a watch (`_watching`), and how a query is sent.

`_watching`, `_views` and the layers above them may import it.
"""
