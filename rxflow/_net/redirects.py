"""The requests of one HTTP call: the first one, and those that redirects on the server lead to.

httpx itself follows no redirects here: it would follow them to other servers, and send these all
headers but Authorization.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from rxflow._backends.backend import HttpCall, HttpResponse, HttpResult
from rxflow._config.settings import Settings

_MAX_REDIRECTS = 3


class RequestChain:
    """The requests of one call, in order.

    Attributes:
        request: The request to send next.
    """

    def __init__(
        self,
        client: httpx.Client | httpx.AsyncClient,
        settings: Settings,
        call: HttpCall,
        extensions: Mapping[str, Any],
    ) -> None:
        """Start with the request of the call itself.

        Args:
            client: The client that will send the requests.
            settings: The server's URL.
            call: The call.
            extensions: The extensions of each request; see
                https://www.python-httpx.org/advanced/extensions/.
        """
        self._client = client
        self._call = call
        self._extensions = extensions
        self._redirects = 0
        url = httpx.URL(settings.api_url + call.path)
        self.request = self._request_to(url.copy_with(params=call.params) if call.params else url)

    def follow(self, result: HttpResult) -> bool:
        """Follow the redirect that a request resulted in, if it may be followed.

        Returns:
            Whether there is another request to send.
        """
        if self._redirects == _MAX_REDIRECTS or not isinstance(result, HttpResponse):
            return False
        target = redirect_target(self.request.url, result)
        if target is None:
            return False
        self._redirects += 1
        self.request = self._request_to(target)
        return True

    def _request_to(self, url: httpx.URL) -> httpx.Request:
        return self._client.build_request(
            self._call.method,
            url,
            content=self._call.body,
            headers=dict(self._call.headers),
            extensions=dict(self._extensions),
        )


def redirect_target(url: httpx.URL, reply: HttpResponse) -> httpx.URL | None:
    """Read where a reply redirects to; None unless that is on the same server, by the same method.

    Args:
        url: The URL that the request was sent to.
        reply: The reply to it.
    """
    if reply.status not in {307, 308} or "location" not in reply.headers:
        return None
    try:
        target = url.join(reply.headers["location"])
    except (httpx.InvalidURL, ValueError):
        return None
    same_server = (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port)
    return target if same_server and not target.userinfo else None
