"""
Check of URLs that the service names, before they are opened.

A faulty or forged service could name an address in the user's network, to read secrets from there or to have pictures
sent there. The check covers the scheme, the host as written, and the addresses to which it resolves.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable

import httpx

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.text import one_line

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(rb"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
# The only IPv6 addresses of hosts in the internet.
_UNICAST = ipaddress.IPv6Network("2000::/3")
# IPv6 that ends in an IPv4 address: NAT64, "compatible" and "translated".
_TRANSLATED = tuple(ipaddress.IPv6Network(n) for n in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96"))
# Python takes them for public, but no store has such an address: cloud metadata, 6to4 relays, local NAT64.
_SPECIAL = tuple(
    ipaddress.ip_network(n) for n in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23")
)
_LOCAL_NAMES = frozenset(
    {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "metadata.google.internal"}
)
_KEPT = 300.0  # seconds for which an accepted name is not resolved again
_REMEDY = "If that is right, set allow_insecure_hosts in the connection's extra."


class Guard:
    """
    Check that refuses URLs that are not safe to open.

    Plain http and loopback addresses are accepted if the connection's own host is a loopback address. With
    ``allow_insecure_hosts``, only other schemes and passwords in the URL are refused.

    :param settings: The connection.
    :param resolve: Returns the addresses of a name. Default None: asks the system.
    :param clock: Returns monotonic seconds. Default: ``time.monotonic``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Callable[[str], list[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._anything = settings.allow_insecure_hosts
        self._loopback = is_loopback(httpx.URL(settings.base_url).host)
        self._proxied = settings.proxy is not None
        self._resolve = resolve or _addresses
        self._clock = clock
        self._accepted: dict[str, float] = {}

    def check(self, url: str) -> httpx.URL:
        """
        Check a URL and return it parsed.

        :param url: The URL, as the service wrote it.
        :raises UnsafeUrl: The URL is not safe to open. The message has the host and the cause, never the URL's query.
        """
        parsed = read_url(url)
        if parsed is None:
            raise errors.UnsafeUrl("The service named an invalid URL.")
        host = parsed.host.rstrip(".")
        if parsed.scheme not in ("https", "http"):
            raise errors.UnsafeUrl(
                f"The service named a URL that is neither https nor http: {one_line(parsed.scheme)}."
            )
        if not can_exist(parsed):
            raise errors.UnsafeUrl("The service named a URL without a valid host and port.")
        if parsed.userinfo:
            raise errors.UnsafeUrl(f"The service named a URL with a user or password on {one_line(host)}.")
        if not self._anything:
            self._check_scheme(parsed.scheme, host)
            self._check_host(host)
        return parsed

    def _check_scheme(self, scheme: str, host: str) -> None:
        if scheme == "http" and not self._loopback:
            raise errors.UnsafeUrl(f"The service named a URL of plain http on {one_line(host)}. {_REMEDY}")

    def _check_host(self, host: str) -> None:
        if self._accepted.get(host, 0.0) > self._clock():
            return
        self._refuse_private(host, self._known_addresses(host))
        self._accepted[host] = self._clock() + _KEPT

    def addresses_of(self, host: str) -> list[str]:
        """
        Return the addresses to connect to, all of them checked.

        The connection must use these, because a name may resolve to other addresses a moment later.

        :param host: The host, as in the URL.
        :raises UnsafeUrl: One of the addresses is private.
        """
        if as_address(host) is not None:
            return [host]
        found = self._resolve(host)
        if not self._anything:
            self._refuse_private(host, [address for address in map(as_address, found) if address])
        return found or [host]

    def _refuse_private(self, host: str, addresses: list[Address]) -> None:
        for address in addresses:
            if not (address.is_loopback and self._loopback) and not _is_public(address):
                raise errors.UnsafeUrl(
                    f"The service named a URL on {one_line(host)}, which is a private address. {_REMEDY}"
                )

    def _known_addresses(self, host: str) -> list[Address]:
        if literal := as_address(host):
            return [literal]
        if _is_local_name(host):
            return [ipaddress.ip_address("127.0.0.1")]
        # Behind a proxy, the proxy resolves names, perhaps to other addresses.
        found = [] if self._proxied else self._resolve(host)
        return [address for address in map(as_address, found) if address]


def read_url(url: str) -> httpx.URL | None:
    """Parse a URL and its host, which httpx decodes (``xn--``) only on access. None: one of them is invalid."""
    try:
        parsed = httpx.URL(url)
        str(parsed.host)
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
    return parsed


def _is_public(address: Address) -> bool:
    inner = _embedded(address)
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv6Address) and inner is None and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and (inner is None or _is_public(inner))


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address to which an IPv6 address is translated. None: it is not translated."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_local_name(host: str) -> bool:
    """Return whether a name means this machine, without asking a resolver."""
    name = host.lower().rstrip(".")
    return name in _LOCAL_NAMES or name.endswith((".localhost", ".localdomain"))


def can_exist(url: httpx.URL) -> bool:
    """Return whether a URL's host and port are valid. httpx accepts any."""
    return _HOST.fullmatch(url.raw_host) is not None and 0 < (url.port or 443) < 65536


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address or ``localhost``, in any spelling (``127.1``, ``localhost.``)."""
    address = as_address(host.rstrip("."))
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback


def as_address(host: str) -> Address | None:
    """Parse an IP address, also in old spellings (``127.1``, ``0x7f000001``). None: it is not an address."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return (
            ipaddress.ip_address(socket.inet_aton(host)) if host[:1].isdigit() and " " not in host else None
        )
    except OSError:
        return None


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []  # the connection then fails with its own error, and is repeated
    return [str(entry[4][0]) for entry in found]
