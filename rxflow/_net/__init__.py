"""HTTP over httpx, blocking and async: the only package that touches a socket.

Belongs here: one attempt at one HTTP call, its limits and its errors, and the channel that puts a
backend on top of it. Does not belong here: retries and waiting (`_protocol`, `_runtime`),
a server's paths and keys (`_backends`).

`client` and the layers above it may import it; `_runtime` gets its channels handed in.
"""
