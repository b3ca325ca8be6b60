"""A web page that the developer has open while the emulator runs: it may send, and read under a rebound name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import httpx
import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator
from tests.faults.nights import NAMES, night
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

BY_MISTAKE = "a-real-key-by-mistake"
CONTROL = {
    "GET": ("", "/bill", "/seen", "/presets", "/faults"),
    "POST": ("/faults", "/key", "/reset", "/options", "/pass", "/adopt", "/presets"),
    "DELETE": ("/faults",),
}
API = (
    ("GET", "/v2/upload"),
    ("GET", "/v2/pfc?fileKey=x"),
    ("GET", "/v2/status/x"),
    ("GET", "/v2/presets"),
    ("POST", "/v2/presets/"),
    ("DELETE", "/v2/presets/x"),
)


def way(name: str, *more: object) -> object:
    return pytest.param(*more, marks=pytest.mark.fault("F102", name, "refused"), id=name.replace(" ", "-"))


def from_a_page(emulator: Emulator, headers: Mapping[str, str]) -> Iterator[int]:
    """The status of every route of the control plane and the API, asked with these headers."""
    base = emulator.base_url.removesuffix("/v2")
    listed = [(method, f"/_emulator{path}") for method, paths in CONTROL.items() for path in paths]
    with httpx.Client(trust_env=False, headers={"X-API-KEY": emulator.key}) as client:
        for method, path in (*listed, *API):
            yield client.request(method, base + path, headers=headers).status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        way("a page of another origin", {"Origin": "http://evil.example"}, 403),
        way("a page without an origin", {"Origin": "null"}, 403),
        way("a picture in a page", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        way("another program's page on this machine", {"Origin": "http://localhost:3000"}, 403),
        way("a rebound name", {"Host": "evil.example"}, 421),
        way(
            "a rebound name with its own origin",
            {"Host": "evil.example", "Origin": "http://evil.example"},
            421,
        ),
    ],
)
def test_a_page_is_refused_by_every_route(
    row: Row, sandbox: Sandbox, headers: Mapping[str, str], status: int
) -> None:
    sandbox.put(*NAMES)
    said = night(sandbox)
    bill, presets = sandbox.emulator.bill(), sandbox.emulator.presets()

    answers = list(from_a_page(sandbox.emulator, headers))

    assert answers == [status] * len(answers)
    row.consumed(f"{len(answers)} requests were refused")
    assert "summary" in said
    assert (sandbox.emulator.bill(), sandbox.emulator.presets()) == (bill, presets)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F102", "a form or a text sent to the control plane", "refused")
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_page_may_send_unasked_is_no_instruction(
    row: Row, sandbox: Sandbox, content_type: str
) -> None:
    """Even from a browser that says nothing of where the request comes from."""
    fault = {"match": {"route": "any"}, "do": [{"kill": {"pid": sandbox.emulator.pid + 1, "when": "before"}}]}
    url = f"{sandbox.emulator.base_url.removesuffix('/v2')}/_emulator/faults"

    answer = httpx.post(url, content=json.dumps(fault), headers={"Content-Type": content_type})

    assert answer.status_code == 403
    row.consumed("the instruction was refused")
    assert sandbox.emulator.unconsumed() == []
    sandbox.put(*NAMES)
    assert "summary" in night(sandbox)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F102", "a real key sent to the emulator by mistake", "hidden")
def test_no_route_shows_a_key(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    night(sandbox)
    emulator = sandbox.emulator
    emulator.set_key(None)
    with httpx.Client(
        trust_env=False, headers={"X-API-KEY": BY_MISTAKE, "X-Other": f"with {BY_MISTAKE}"}
    ) as client:
        assert client.get(f"{emulator.base_url}/presets").status_code == 200
        told = [
            client.get(f"{emulator.base_url.removesuffix('/v2')}/_emulator{path}").text
            for path in CONTROL["GET"]
        ]

    row.consumed("it was seen, and its leak was counted")
    assert emulator.seen()["api"]["key_leaks"] == {"x-other": 1}
    for text in told:
        assert BY_MISTAKE not in text and sandbox.emulator.key not in text
    sandbox.emulator.set_key(sandbox.emulator.key)
    row.held(check_all_but_the_leak(sandbox))


def check_all_but_the_leak(sandbox: Sandbox) -> str:
    """The leak was this test's own."""
    seen = sandbox.emulator.seen
    sandbox.emulator.seen = lambda: {**seen(), "api": {**seen()["api"], "key_leaks": {}}}  # type: ignore[method-assign]
    try:
        return check_invariants(sandbox)
    finally:
        sandbox.emulator.seen = seen  # type: ignore[method-assign]
