"""
Who may talk to the emulator: programs on this machine that mean it. Not a web page that the developer has open.

A page can send requests to loopback: by its own name that leads to 127.0.0.1 (a rebound name), or across sites without
reading the answers. Both are refused before anything else happens.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_perfectlyclear.emulator.transport.answers import Answer, error_answer

CONTROL = "/_emulator"
_FOREIGN_SITES = ("cross-site", "same-site")


class Gate:
    """
    Refuses what a web page may have sent.

    :param app: what answers everything else.
    :param names: names that lead to this machine, beside ``localhost`` and the addresses of loopback.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through, or answer 421 or 403."""
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _answer(refusal, send)

    def _refusal(self, scope: Scope) -> Answer | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._is_this_machine(host):
            return error_answer(
                421, f"The emulator is not called {host[:100]!r}: ask localhost or 127.0.0.1."
            )
        origin = headers.get(b"origin")
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            return error_answer(403, "The emulator talks to no web page of another origin.")
        if headers.get(b"sec-fetch-site") in _FOREIGN_SITES:
            return error_answer(403, "The emulator talks to no web page of another site.")
        return _refusal_of_a_body(scope, headers)

    def _is_this_machine(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            return name in self._names or ipaddress.ip_address(name).is_loopback
        except ValueError:  # another name, or no name at all
            return False


def _refusal_of_a_body(scope: Scope, headers: dict[bytes, str]) -> Answer | None:
    """Refuse what is not said to be JSON: a page may send any other body across sites unasked."""
    is_sent = headers.get(b"content-length", "0") != "0" or b"transfer-encoding" in headers
    if not scope["path"].startswith(CONTROL) or not (is_sent or b"content-type" in headers):
        return None
    content_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        return None
    return error_answer(403, f"{CONTROL} takes JSON that says so: send Content-Type: application/json.")


async def _answer(answer: Answer, send: Send) -> None:
    assert isinstance(answer.body, bytes)
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
