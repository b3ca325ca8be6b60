"""Settings of a client: one connection, with defaults for all optional fields."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_BASE_URL = "https://api.perfectlyclear.io/v2"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    One connection to the service.

    :param api_key: Sent as ``X-API-KEY``, only to the origin of ``base_url``. Never printed.
    :param base_url: Scheme, host, optional port and path, without a trailing slash. Default: the public service.
    :param name: Id of the connection, for messages. Default ``"perfectlyclear_default"``.
    :param timeout: Maximum seconds of one connect, read or write. Default 30.
    :param call_deadline: Maximum seconds of one JSON request. A transfer may take this long plus one second per 32 KiB.
        Default 60.
    :param proxy: URL of a proxy for all requests. It may contain a password, so it is never printed. Default None: the
        proxy variables of the environment.
    :param verify: Path of a CA file or folder. False: certificates are not checked. Default True: the usual CAs.
    :param max_retries: Maximum number of repeats of a request that may be repeated. Default 5.
    :param requests_per_second: Maximum number of requests to the API per second, for this process. Default None: no
        limit but the service's own (429).
    :param allow_insecure_hosts: Accept URLs from the service with plain http or with a private, loopback or link-local
        address. Default False.
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
