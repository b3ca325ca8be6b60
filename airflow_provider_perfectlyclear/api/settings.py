"""What a sender must know about the service: a connection, with everything optional filled in."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_BASE_URL = "https://api.perfectlyclear.io/v2"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    One connection to the service.

    :param api_key: sent as ``X-API-KEY``, to the origin of ``base_url`` alone; never printed.
    :param base_url: scheme, host, optional port and path, without a trailing slash.
    :param name: the connection's id, for messages.
    :param timeout: seconds that one connect, read or write may take. Default 30.
    :param call_deadline: seconds that one JSON request may take in all, and a transfer may take on top of
        the time its bytes need at a very slow pace. Default 60.
    :param proxy: URL of a proxy for all traffic, instead of the proxy variables of the environment; may hold
        a password, so it is never printed.
    :param verify: False for no check of certificates, or the path of a CA file or folder. Default True.
    :param max_retries: how often a request that may be repeated is sent again. Default 5.
    :param requests_per_second: the most requests to the API per second of this process. Default: as many as
        the service allows.
    :param allow_insecure_hosts: open URLs named by the service even if they are plain http or lead to a private,
        loopback or link-local address. Default False.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    name: str = "perfectlyclear_default"
    timeout: float = 30.0
    call_deadline: float = 60.0
    proxy: str | None = field(default=None, repr=False)
    verify: bool | str = True
    max_retries: int = 5
    requests_per_second: float | None = None
    allow_insecure_hosts: bool = False
