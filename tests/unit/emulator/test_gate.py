"""Who may talk to the emulator, and what it tells them."""

from __future__ import annotations

import json

import httpx
import pytest


def ask(emulator, path="/_emulator/bill", method="GET", storage=False, **more):
    base = emulator.storage_url if storage else emulator.base_url.removesuffix("/v2")
    return httpx.request(method, f"{base}{path}", trust_env=False, **more).status_code


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "["]
)
@pytest.mark.parametrize("storage", [False, True])
def test_a_name_that_is_not_this_machine_is_refused(emulator, host, storage):
    assert ask(emulator, storage=storage, headers={"Host": host}) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.2", "[::1]:80"])
def test_every_way_to_say_this_machine_is_understood(emulator, host):
    assert ask(emulator, headers={"Host": host}) == 200


def test_a_name_may_be_given(started):
    emulator = started(name="emulator.test").emulator
    assert ask(emulator, headers={"Host": "emulator.test:80"}) == 200
    assert ask(emulator, headers={"Host": "other.test"}) == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_another_origin_is_refused(emulator, origin):
    assert ask(emulator, headers={"Origin": origin}) == 403


def test_its_own_origin_is_not_another(emulator):
    origin = emulator.base_url.removesuffix("/v2")
    assert ask(emulator, headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"}) == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("text/plain", 403), ("application/x-www-form-urlencoded", 403), (None, 403), ("application/json", 200)],
)
def test_control_takes_json_that_says_so(emulator, content_type, status):
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps({"key": None})
    assert ask(emulator, "/_emulator/key", "POST", content=body, headers=headers) == status


def test_a_reset_needs_no_body(emulator):
    assert ask(emulator, "/_emulator/reset", "POST") == 200
    assert ask(emulator, "/_emulator/reset", "POST", headers={"Content-Type": "text/plain"}) == 403
