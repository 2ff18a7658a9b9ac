"""One codec per kind of server: queries to HTTP calls, HTTP replies to pages or failures.

Belongs here: a server's paths, JSON keys, error texts and conversation (a CSRF token, a silent row
limit), and the detection of which server replies. Does not belong here: sockets (`_net`), retries
(`_protocol`), anything that needs the time. A module here is pure, though a codec may remember what
it learned about its server.

`_net` and the layers above it may import it.
"""
