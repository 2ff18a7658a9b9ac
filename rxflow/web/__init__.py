"""`rxflow.web`: pages that show flow runs live, as an ASGI app to serve or to mount; extra ``web``.

Belongs here: HTTP responses, server-sent events, templates, and what a browser runs. Does not
belong here: what a watch emits, or when; that is the library's, which this package uses as your own
service would. Nothing in rxflow imports it.

    _app.py         the app: its routes, and the status of each error
    _run_feeds.py   one session for all viewers of a run, which outlives a short disconnect
    _frames.py      events as frames, and from which event a browser goes on
    _pages.py       templates and headers
    templates/      HTML with all values escaped
    static/         style sheet, script and icon
"""

from rxflow.web._app import flow_run_app

__all__ = ["flow_run_app"]
