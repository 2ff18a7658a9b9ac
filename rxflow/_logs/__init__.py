"""The count-probe cursor: delivers each log row of runs once, and proves that none is missing.

Belongs here: the ledger of delivered rows, reading the server's log table in pages, the search for
rows that a count says are missing, the audit, the forecast of new rows. Does not belong here:
states, tasks and the end of a watch (`_watching`), and how a query is sent (`_net`).

To read it: `buckets`, `row_columns`, `kept_rows`, `ledger`, `table_reader`, `forecast`,
`gap_search`, `bucket_search`, `audit`, and then `cursor_poll` and `cursor`, which put them
together.

`_watching`, `_views` and the layers above them may import it.
"""
