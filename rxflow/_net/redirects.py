"""The requests of one HTTP call: the first one, and those that redirects on the server lead to.

A client of httpx would follow them to other servers, and send these all headers but Authorization.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from rxflow._backends.backend import HttpCall, HttpResponse, HttpResult
from rxflow._net.http_requests import RequestBuilder

_MAX_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_SAME_METHOD = {307, 308}  # after the others a POST would become a GET


class RequestChain:
    """The requests of one call, in order.

    Attributes:
        request: The request to send next.
    """

    def __init__(
        self, requests: RequestBuilder, call: HttpCall, extensions: Mapping[str, Any]
    ) -> None:
        """Start with the request of the call itself.

        Args:
            requests: Builds the requests.
            call: The call.
            extensions: The extensions of each request; see
                https://www.python-httpx.org/advanced/extensions/.
        """
        self._requests = requests
        self._call = call
        self._extensions = extensions
        self._redirects = 0
        self.request = requests.build(call, extensions)

    def follow(self, result: HttpResult) -> bool:
        """Follow the redirect that a request resulted in, if it may be followed.

        Returns:
            Whether there is another request to send.

        Raises:
            httpx.InvalidURL: The redirect leads to what is not a URL.
        """
        if not isinstance(result, HttpResponse):
            return False
        target = redirect_target(self.request.url, result)
        if target is None or self._redirects == _MAX_REDIRECTS:
            return False
        self._redirects += 1
        self.request = self._requests.build(self._call, self._extensions, target)
        return True


def redirect_target(url: httpx.URL, reply: HttpResponse) -> httpx.URL | None:
    """Read where a reply redirects to; None unless that is on the same server, by the same method.

    Args:
        url: The URL that the request was sent to.
        reply: The reply to it.

    Raises:
        httpx.InvalidURL: It redirects to what is not a URL.
    """
    if reply.status not in _REDIRECTS or "location" not in reply.headers:
        return None
    try:
        target = url.join(reply.headers["location"])
        place = target.scheme, target.host, target.port
    except ValueError as error:  # of a host name or a number in it
        raise httpx.InvalidURL(str(error)) from error
    same_server = place == (url.scheme, url.host, url.port) and not target.userinfo
    return target if same_server and reply.status in _SAME_METHOD else None
