"""The HTTP requests of one transport: URLs, headers, time-outs and cookies.

An `httpx.Client` would do the same, but parse the URL and merge the headers anew each time, and
look for log-ins and a proxy. Here what a call has in common with earlier ones is kept: the request
of a page takes 0.47 ms instead of 0.67 ms (`tests/bench/page_requests.py`).

Belongs here: what is sent. Does not belong here: sending it (`transport`), and following redirects
(`redirects`).
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import httpx

from rxflow._backends.backend import HttpCall
from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName

_LONGEST_TIMEOUT = 86_400.0  # seconds; sockets refuse time-outs of more than some weeks

_Pairs = tuple[tuple[str, str], ...]


class RequestBuilder:
    """Builds the requests of one transport, and keeps the cookies that the server sets."""

    def __init__(self, settings: Settings) -> None:
        """Start without cookies.

        Args:
            settings: The server's URL, credentials and time-outs.
        """
        self._timeout = httpx.Timeout(
            min(settings.read_timeout, _LONGEST_TIMEOUT),
            connect=min(settings.connect_timeout, _LONGEST_TIMEOUT),
        ).as_dict()
        # A client calls some paths again and again, and others, with the id of a run, once.
        self._url_of = lru_cache(maxsize=64)(partial(_url_of, settings.api_url))
        self._headers_of = lru_cache(maxsize=8)(partial(_headers_of, fixed_headers(settings)))
        self._cookies = httpx.Cookies()

    def build(
        self, call: HttpCall, extensions: Mapping[str, Any], url: httpx.URL | None = None
    ) -> httpx.Request:
        """Build the request of a call.

        Args:
            call: The call.
            extensions: See https://www.python-httpx.org/advanced/extensions/; time-outs are added.
            url: Where to send the request; None for the URL of the call.
        """
        url = self._url_of(call.path, call.params) if url is None else url
        headers = self._headers_of(url.netloc, call.headers).copy()
        if call.body is not None:
            headers["content-length"] = str(len(call.body))
        request = httpx.Request(
            call.method,
            url,
            headers=headers,
            # With `content` in place of `stream` httpx would look for headers to add, for 0.03 ms.
            stream=httpx.ByteStream(call.body or b""),
            extensions={**extensions, "timeout": self._timeout},
        )
        request.read()  # as it is for the transports of httpx.Client, which may be the user's
        if self._cookies:
            self._cookies.set_cookie_header(request)
        return request

    def receive(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Keep the cookies of a response: a load balancer may choose a server by them.

        Returns:
            The response.
        """
        response.request = request
        if "set-cookie" in response.headers:
            self._cookies.extract_cookies(response)
        return response


def _url_of(api_url: str, path: str, params: _Pairs) -> httpx.URL:
    url = httpx.URL(api_url + path)
    return url.copy_with(params=params) if params else url


def _headers_of(fixed: Mapping[str, str], host: bytes, added: _Pairs) -> httpx.Headers:
    """Merge the headers of each request with those of a call, which have precedence."""
    return httpx.Headers(
        {"host": host.decode("ascii"), **fixed} | {name.lower(): value for name, value in added}
    )


def fixed_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request to a server, keyed by lower-cased name."""
    headers = {"accept": "*/*", "connection": "keep-alive"} | _tenant(settings)
    headers |= {name.lower(): value.reveal() for name, value in settings.headers}
    headers["user-agent"] = "rxflow"
    headers["accept-encoding"] = "gzip"  # the coding that `BodyReader` decodes
    if (authorization := settings.authorization()) is not None:
        headers["authorization"] = authorization
    return headers


def _tenant(settings: Settings) -> dict[str, str]:
    """Name the tenant as Prefect 1's client does: only with a key, which may have several."""
    if settings.backend is BackendName.PREFECT_3 or not (settings.api_key and settings.tenant_id):
        return {}
    return {"x-prefect-tenant-id": settings.tenant_id.reveal()}
