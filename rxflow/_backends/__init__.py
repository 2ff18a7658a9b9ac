"""Backends: what each kind of Prefect server is sent for a query, and what its replies mean.

Belongs here: a server's paths, JSON keys, GraphQL texts, error texts and peculiarities (CSRF
tokens, silent row limits), and the detection of which server replies. Does not belong here: sockets
(`_net`), retries (`_protocol`), anything that needs the time. A module here is pure, but a backend
object may remember what it learned about its server.

`_net` and the layers above it may import it.
"""
