"""
Airflow connections of type ``perfectlyclear``, as settings of a client.

====================  =============================================================================
password              the API key
host                  the base URL, or a bare host with an optional port; empty: the public service
schema                the path of the base URL, where the host has none
extra (JSON)          ``timeout``, ``proxy``, ``verify``, ``max_retries``, ``requests_per_second``,
                      ``allow_insecure_hosts``
====================  =============================================================================

Workers read a connection with :func:`get_settings`, triggerers with :func:`aget_settings`, which does not block the
event loop.
"""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, urlsplit

from airflow_provider_perfectlyclear.adapters.masking import amask, masker
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.errors import ConfigurationError

DEFAULT_CONN_ID = "perfectlyclear_default"
CONN_TYPE = "perfectlyclear"
DEFAULT_PATH = "/v2"
HTTPS_PORT = 443

log = logging.getLogger(__name__)


def get_settings(conn_id: str) -> Settings:
    """
    Read a connection, blocking. For workers.

    :param conn_id: Id of the Airflow connection.
    :raises ConfigurationError: The connection is missing, has no API key, or has a wrong field.
    """
    from airflow.providers.common.compat.sdk import BaseHook

    mask_secret = masker()
    conn = _or_not_defined(conn_id, lambda: BaseHook.get_connection(conn_id))
    settings = settings_from(conn)
    for secret in _unmasked(conn, settings):
        mask_secret(secret)
    return settings


async def aget_settings(conn_id: str) -> Settings:
    """
    Read a connection without blocking the event loop. For triggers.

    :param conn_id: Id of the Airflow connection.
    :raises ConfigurationError: The connection is missing, has no API key, or has a wrong field.
    """
    conn = await _aget_connection(conn_id)
    settings = settings_from(conn)
    for secret in _unmasked(conn, settings):
        await amask(secret)
    return settings


def renewer(settings: Settings) -> Callable[[], Settings | None]:
    """
    Return the function that a client calls once after a 401. It reads the connection again.

    :param settings: The settings with the refused API key. Their ``name`` is the connection id.
    :returns: A function that returns the new settings, or None if the API key has not changed.
    """
    known = settings

    def renew() -> Settings | None:
        nonlocal known
        known, before = get_settings(settings.name), known
        return known if known.api_key != before.api_key else None

    return renew


def arenewer(settings: Settings) -> Callable[[], Awaitable[Settings | None]]:
    """
    Return the asynchronous form of :func:`renewer`.

    :param settings: The settings with the refused API key. Their ``name`` is the connection id.
    """
    known = settings

    async def renew() -> Settings | None:
        nonlocal known
        fresh, before = await aget_settings(settings.name), known
        known = fresh
        return fresh if fresh.api_key != before.api_key else None

    return renew


def settings_from(conn: Any) -> Settings:
    """
    Convert an Airflow connection to settings, without any request.

    :param conn: Airflow's ``Connection`` of any version.
    :raises ConfigurationError: A field is missing or wrong. The message names it.
    """
    name = conn.conn_id or DEFAULT_CONN_ID
    if conn.conn_type not in (CONN_TYPE, "", None):
        log.warning(
            "Connection %r is of type %r, not %r: is it the right one? Its password is sent as the API key.",
            name,
            conn.conn_type,
            CONN_TYPE,
        )
    options = _extra(name, conn.extra)
    insecure = bool(options.get("allow_insecure_hosts", False))
    base_url = _base_url(name, conn.host, conn.port, conn.schema, insecure)
    if base_url is not None:
        options["base_url"] = base_url
    return Settings(api_key=_api_key(name, conn.password), name=name, **options)


def _api_key(name: str, password: str | None) -> str:
    key = (password or "").strip()
    if not key:
        raise ConfigurationError(f"Connection {name!r} has no API key: put it in the password.")
    if key != password:
        log.warning("Connection %r: white space around the API key was left out.", name)
    if not (key.isascii() and key.isprintable() and " " not in key):
        # An HTTP header cannot contain it, and the error of the HTTP library would quote it.
        raise ConfigurationError(
            f"Connection {name!r}: the API key in the password has characters that no key has "
            "(white space, line breaks or letters outside ASCII): copy it again."
        )
    return key


# --- the base URL -------------------------------------------------------------------------------------------


def _base_url(
    name: str, host: str | None, port: int | None, schema: str | None, insecure: bool
) -> str | None:
    """Return the base URL. None: the public service."""
    host, schema = (host or "").strip(), (schema or "").strip().strip("/")
    if not host:
        if schema or int(port or 0) not in (0, HTTPS_PORT):  # 443 is the port of the public service
            raise ConfigurationError(
                f"Connection {name!r} has a port or a path but no host: fill in the host."
            )
        return None
    scheme = "https"
    if schema.lower() in ("http", "https"):  # as in Airflow's HTTP connections
        scheme, schema = schema.lower(), ""
    url = _split(name, host if "://" in host else f"{scheme}://{_bracketed(host)}")
    _refuse_insecure(name, url, insecure)
    return f"{url.scheme}://{_authority(name, url, port)}{_path(name, url, schema)}"


def _bracketed(host: str) -> str:
    """Return a bare IPv6 address in brackets, as a URL requires."""
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        return host


def _split(name: str, text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and _is_host(url.hostname or "") and (url.port or True)
    except ValueError:
        usable = False
    if not usable or any(c.isspace() for c in text):
        raise ConfigurationError(
            f"Connection {name!r}: the host is neither a URL such as https://api.example.com/v2 "
            "nor a host such as api.example.com."
        )
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise ConfigurationError(
            f"Connection {name!r}: the host holds a user, a query or a fragment; only scheme, host, port and "
            "path belong there. The API key goes into the password."
        )
    return url


def _is_host(text: str) -> bool:
    """Return whether DNS can look the name up. For other names, Python raises unrelated errors."""
    try:
        labels = text.removesuffix(".").encode("idna").decode().split(".")
    except UnicodeError:
        return False
    return ":" in text or all(re.fullmatch(r"[A-Za-z0-9_-]{1,63}", label) for label in labels)


def _refuse_insecure(name: str, url: SplitResult, insecure: bool) -> None:
    from airflow_provider_perfectlyclear.api.safety import (
        is_loopback,
    )  # httpx, not needed when Dags are parsed

    if url.scheme == "http" and not insecure and not is_loopback(url.hostname or ""):
        raise ConfigurationError(
            f"Connection {name!r}: plain http would send the API key unencrypted to {url.hostname!r}: "
            'use https, or set "allow_insecure_hosts": true in the extra.'
        )


def _authority(name: str, url: SplitResult, port: int | None) -> str:
    ports = {p for p in (url.port, int(port or 0)) if p}  # some Airflow versions pass port 0
    if len(ports) > 1:
        raise ConfigurationError(
            f"Connection {name!r} names two ports, {url.port} in the host and {port}: keep one."
        )
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    if not all(0 < one < 65536 for one in ports):
        raise ConfigurationError(
            f"Connection {name!r}: {port} is not a valid port: give 1 to 65535, or leave it empty."
        )
    usual = {"https": HTTPS_PORT, "http": 80}[url.scheme]
    return f"{host}:{ports.pop()}" if ports - {usual} else str(host)


def _path(name: str, url: SplitResult, schema: str) -> str:
    path = url.path.strip("/")
    if path and schema and path != schema:
        raise ConfigurationError(
            f"Connection {name!r} names two paths, {path!r} in the host and {schema!r} in the schema: "
            "keep one."
        )
    return f"/{path or schema}" if path or schema else DEFAULT_PATH


# --- the extra ----------------------------------------------------------------------------------------------


def _extra(name: str, extra: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Read the extra: every field is checked and converted for Settings. Empty fields are left out."""
    given = _extra_object(name, extra)
    readers = {
        "timeout": _positive,
        "proxy": _proxy,
        "verify": _verify,
        "max_retries": _count,
        "requests_per_second": _positive,
        "allow_insecure_hosts": _switch,
    }
    found = {}
    for field, value in given.items():
        short = field.removeprefix(f"extra__{CONN_TYPE}__")  # as old connection forms stored it
        if short not in readers:
            close = difflib.get_close_matches(short, readers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": known are {', '.join(readers)}."
            raise ConfigurationError(f"Connection {name!r}: extra field {field!r} is unknown{hint}")
        if value is None or value == "":
            continue
        try:
            found[short] = readers[short](value)
        except ValueError as wrong:
            raise ConfigurationError(f"Connection {name!r}: extra field {short!r} {wrong}.") from None
    return found


def _extra_object(name: str, extra: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    try:
        given = json.loads(extra) if isinstance(extra, str) and extra.strip() else extra or {}
        given = {} if given is None else given
    except ValueError:
        given = None
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"Connection {name!r}: the extra is not a JSON object.")
    return given


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError("must be a number") from None


def _positive(value: Any) -> float:
    number = _number(value)
    if not 0 < number < float("inf"):
        raise ValueError("must be a number above 0")
    return number


def _count(value: Any) -> int:
    number = _number(value)
    if not 0 <= number <= 100 or number != int(number):
        raise ValueError("must be a whole number from 0 to 100")
    return int(number)


def _switch(value: Any) -> bool:
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _verify(value: Any) -> bool | str:
    try:
        return _switch(value)
    except ValueError:
        pass
    if not isinstance(value, str) or not os.path.exists(value):
        raise ValueError("must be true, false or the path of a CA file or folder on this machine")
    return value


def _proxy(value: Any) -> str:
    # Messages never quote the value: a proxy's URL may contain a password.
    if not isinstance(value, str) or not _is_proxy(value):
        raise ValueError("must be a URL such as http://proxy.example.com:3128")
    if value.startswith("socks5") and find_spec("socksio") is None:
        raise ValueError("is a SOCKS proxy, which needs pip install 'httpx[socks]' on this machine")
    return value


def _is_proxy(value: str) -> bool:
    try:
        url = urlsplit(value)
        return url.scheme in ("http", "https", "socks5", "socks5h") and bool(url.hostname)
    except ValueError:
        return False


# --- looking up and masking ---------------------------------------------------------------------------------


async def _aget_connection(conn_id: str) -> Any:
    from airflow.providers.common.compat.connection import get_async_connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        return await get_async_connection(conn_id)
    except AirflowNotFoundException:
        # `airflow dags test` finds connections of its database only with the blocking call.
        return await asyncio.to_thread(_or_not_defined, conn_id, lambda: BaseHook.get_connection(conn_id))


def _or_not_defined(conn_id: str, look_up: Callable[[], Any]) -> Any:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        return look_up()
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Connection {conn_id!r} is not defined: create it with the type {CONN_TYPE!r} and the API key "
            "as password."
        ) from None


def _unmasked(conn: Any, settings: Settings) -> list[str]:
    """Return the secrets that Airflow does not mask by itself."""
    secrets = [settings.api_key] if settings.api_key != conn.password else []
    if settings.proxy and (password := urlsplit(settings.proxy).password):
        secrets.append(password)
    return secrets
