"""Proxies: which one the environment sets for a server, by the rules of `httpx.Client`.

A client of httpx chooses a proxy for each request; a server of ours has one for good. Its rules are
those of httpx 0.28, which `tests/net/test_proxies.py` compares these with.

Belongs here: the variables, which on macOS and Windows the system's settings complete. Does not
belong here: connecting through a proxy (`endpoint`).
"""

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote
from urllib.request import getproxies

import httpx

from rxflow._config.secrets import Secret


class Proxy(NamedTuple):
    """A proxy that the environment sets.

    Attributes:
        url: Its URL, which may have a password.
    """

    url: Secret

    @property
    def name(self) -> str:
        """Host and port."""
        return self.url.reveal().rpartition("@")[2].rpartition("//")[2]

    @property
    def user_info(self) -> str:
        """Its ``user:password``, a secret; "" for none."""
        return unquote(self.url.reveal().rpartition("@")[0].rpartition("//")[2])


def proxy_of(url: httpx.URL) -> Proxy | None:
    """Return the proxy that the environment sets for a URL; None for none.

    A server on this machine has none, since a proxy cannot reach it.
    """
    if _is_loopback(url.host):
        return None
    rules = [rule for rule in _rules() if rule.applies_to(url)]
    proxy = min(rules, key=_Rule.rank).proxy if rules else None
    if proxy is None:
        return None
    return Proxy(Secret(proxy if "://" in proxy else f"http://{proxy}"))


class _Rule(NamedTuple):
    """Which proxy URLs of one form have.

    Attributes:
        pattern: The form: a scheme or ``all``, and a host, ``*host``, ``*.host`` or no host.
        proxy: The proxy's URL; None for no proxy.
    """

    pattern: httpx.URL
    proxy: str | None

    def applies_to(self, url: httpx.URL) -> bool:
        scheme, host, port = self.pattern.scheme, self.pattern.host, self.pattern.port
        if scheme not in {"all", "", url.scheme} or port not in {None, url.port}:
            return False
        if host.startswith("*."):
            return re.fullmatch(rf".+\.{re.escape(host[2:])}", url.host) is not None
        if host.startswith("*") and host != "*":
            return re.fullmatch(rf"(.+\.)?{re.escape(host[1:])}", url.host) is not None
        return host in {"", "*", url.host}

    def rank(self) -> tuple[bool, int, int]:
        """Order rules: the least rank is the most specific rule, which wins."""
        scheme, host = self.pattern.scheme.removeprefix("all"), self.pattern.host
        return self.pattern.port is None, -len("" if host == "*" else host), -len(scheme)


def _rules() -> list[_Rule]:
    found = getproxies()
    proxies: dict[str, str | None] = {
        f"{scheme}://": found[scheme] for scheme in ("http", "https", "all") if found.get(scheme)
    }
    for entry in map(str.strip, found.get("no", "").split(",")):
        if entry == "*":
            return []
        if entry:
            proxies[_pattern(entry)] = None
    rules: list[_Rule] = []
    for pattern, proxy in proxies.items():
        try:
            rule = _Rule(httpx.URL(pattern), proxy)
            rule.rank()  # reads the host, which may be no domain name
        except (httpx.InvalidURL, ValueError):
            continue  # an entry of NO_PROXY such as fd00::/8, with which httpx.Client would fail
        rules.append(rule)
    return rules


def _pattern(entry: str) -> str:
    """Return the form of the URLs that an entry of NO_PROXY covers: a host and those below it."""
    if "://" in entry:
        return entry
    try:
        version = ip_address(entry.partition("/")[0]).version
    except ValueError:
        return f"all://{entry}" if entry.lower() == "localhost" else f"all://*{entry}"
    return f"all://{entry}" if version == 4 else f"all://[{entry}]"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
