"""Polls without I/O: queries, pages, failures, the retry policy and the poll interval.

A *poll* is a generator that yields queries, is sent a page for each, and returns what it found. It
commits nothing before its last page, so a poll that fails half-way has changed nothing.

Belongs here: what a query selects, what a reply holds, and when and whether to retry. Does not
belong here: a server's JSON keys and paths (`_backends`), sending and waiting (`_net`, `_runtime`).

`_logs`, `_backends`, `_config`, `_watching` and every layer above them may import it.
"""
