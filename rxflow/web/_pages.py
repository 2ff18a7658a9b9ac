"""Pages: templates that escape all values, and headers that let nothing else run or be loaded."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

import rxflow
from rxflow._escapes import safe_text
from rxflow._models.durations import short_duration

STATIC = Path(__file__).parent / "static"
"""The folder of what the pages load."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every page: what a page may load is this app's own, and no script stands in a page."""


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a template.

    Args:
        template: Its name without a suffix.
        status: The status of the response.
        values: Its variables.
    """
    html = _TEMPLATES.get_template(f"{template}.html").render(values, version=rxflow.__version__)
    return HTMLResponse(html, status, headers=HEADERS)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("rxflow.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe,
    )
    templates.filters["duration"] = short_duration
    return templates


def _safe(value: object) -> object:
    """Escape what is escaped for every reader: a name must not reverse the text after it."""
    return safe_text(value) if isinstance(value, str) else value


_TEMPLATES = _templates()
