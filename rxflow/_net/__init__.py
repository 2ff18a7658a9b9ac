"""HTTP over httpx, blocking and async: the only package that opens a connection.

Belongs here: one attempt at one HTTP call, its time-outs, limits and errors, and the channel that
carries a backend's conversations. Does not belong here: retries and waiting (`_protocol`,
`_runtime`), a server's paths and keys (`_backends`).

`client` and the layers above it may import it; `_runtime` is given its channels.
"""
