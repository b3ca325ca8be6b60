"""What each origin was asked, and with which headers: how a test proves that a key went nowhere else."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

# Values are kept so that a test can look for a canary in them. A header that is different each time
# (Content-Length, Range) must not fill the memory of a long run.
MOST_VALUES = 50
MOST_KEYS = 1000
# A shorter key would be found by chance in many a header.
LEAST_KEY_TO_LOOK_FOR = 8


#: Headers that hold nothing but a secret.
SECRET_HEADERS = ("x-api-key", "authorization", "proxy-authorization", "cookie")


def digest_of(key: str) -> str:
    """How a key is told that must not be shown: it may be a real one, sent here by mistake."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _without_secrets(name: str, value: str, known: Iterable[str]) -> str:
    if name in SECRET_HEADERS:
        return digest_of(value)
    for key in known:
        value = value.replace(key, digest_of(key))
    return value


class SeenOrigin:
    """What one origin (scheme, host and port) was asked."""

    def __init__(self) -> None:
        self.requests = 0
        self.routes: Counter[str] = Counter()
        self.headers: dict[str, dict[str, None]] = {}
        self.api_keys: dict[str, None] = {}
        self.key_leaks: Counter[str] = Counter()

    def note(
        self, route: str, target: str, headers: Iterable[tuple[bytes, bytes]], keys: Iterable[str]
    ) -> None:
        """
        Note a request.

        :param route: the route's name.
        :param target: path and query as sent.
        :param headers: as they came.
        :param keys: every API key known so far: any of them elsewhere than in X-API-KEY is a leak.
        """
        self.requests += 1
        self.routes[route] += 1
        headers = list(headers)
        own = (value.decode("latin-1") for name, value in headers if name == b"x-api-key")
        known = (*keys, *(key for key in own if len(key) >= LEAST_KEY_TO_LOOK_FOR))
        if any(key in target for key in known):
            self.key_leaks["target"] += 1
        for raw_name, raw_value in headers:
            self._note_header(raw_name.decode("latin-1"), raw_value.decode("latin-1"), known)

    def _note_header(self, name: str, value: str, known: tuple[str, ...]) -> None:
        if name == "x-api-key":
            if len(self.api_keys) < MOST_KEYS:
                self.api_keys[value] = None
        elif any(key in value for key in known):
            self.key_leaks[name] += 1
        values = self.headers.setdefault(name, {})
        if len(values) < MOST_VALUES:
            values[_without_secrets(name, value, known)] = None

    def report(self) -> dict[str, Any]:
        """Everything noted, as JSON."""
        return {
            "requests": self.requests,
            "routes": dict(self.routes),
            "headers": {name: list(values) for name, values in self.headers.items()},
            "api_key_seen": "x-api-key" in self.headers,
            "api_keys": [digest_of(key) for key in self.api_keys],
            "key_leaks": dict(self.key_leaks),
        }
