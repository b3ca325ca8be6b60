"""Diagnosis of settings and environment variables with which httpx cannot create a client. Hides proxy URLs."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec

from airflow_provider_perfectlyclear.api.settings import Settings

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_CAS = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def what_is_wrong(settings: Settings) -> str:
    """
    Return the cause and the remedy, after httpx failed to create a client.

    :param settings: The connection.
    """
    if isinstance(settings.verify, str) and not os.path.exists(settings.verify):
        return f"its 'verify' names {settings.verify}, which does not exist. Give a CA file or folder."
    if settings.proxy is not None:
        return (
            "its proxy cannot be used. Write it as http://host:port. SOCKS needs: pip install 'httpx[socks]'."
        )
    return (
        _ca_variable()
        or _proxy_variable()
        or (
            "its proxy, the proxy variables of the environment or its 'verify' (a CA file or folder) cannot be used."
        )
    )


def _ca_variable() -> str | None:
    for name in _CAS:
        value = os.environ.get(name)
        if value and not os.path.exists(value):
            return f"{name} names {value}, which does not exist. Correct or unset it."
        try:
            if value and name == "SSL_CERT_FILE":
                ssl.create_default_context(cafile=value)
        except (OSError, ValueError):
            return f"{name} names {value}, which holds no certificates that can be read. Correct or unset it."
    return None


def _proxy_variable() -> str | None:
    for name in _PROXIES:
        value = os.environ.get(name) or os.environ.get(name.lower()) or ""
        if value.lower().startswith("socks") and find_spec("socksio") is None:
            return (
                f"{name} names a SOCKS proxy. Install its library: pip install 'httpx[socks]', or unset it."
            )
    if os.environ.get("NO_PROXY") or os.environ.get("no_proxy"):
        return "NO_PROXY, or a proxy variable, cannot be read. Give NO_PROXY plain names and addresses, without ranges."
    for name in _PROXIES:
        if os.environ.get(name) or os.environ.get(name.lower()):
            return f"{name} cannot be read. Write it as http://host:port, or unset it."
    return None
