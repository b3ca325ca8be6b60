"""No key and no signature gets into a log at DEBUG, an error, its chain or a repr."""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.wire import Body

pytestmark = pytest.mark.usefixtures("impatient")

SIGNATURE = "canarysignature"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    root.addHandler(handler)
    loggers = [root, *(logging.getLogger(name) for name in ("httpx", "httpcore"))]
    before = [(logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:  # whatever logging configuration another test has loaded
        logger.disabled = False
        logger.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for logger, (level, disabled) in zip(loggers, before, strict=True):
        logger.disabled = disabled
        logger.setLevel(level)


def has_canary(settings: Settings, text: str) -> bool:
    return settings.api_key in text or SIGNATURE in text


def everything_of(error: BaseException) -> str:
    """An error, its fields, its pickle and all that is chained to it, suppressed or not."""
    seen: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None:
            seen += [str(one), repr(one), repr(vars(one)), "".join(traceback.format_exception_only(one))]
            todo += [one.__cause__, one.__context__]
    return "\n".join([*seen, repr(pickle.loads(pickle.dumps(error)))])


def test_a_whole_run_logs_no_secret_at_debug(
    senders: Any, wire: Any, store: Any, settings: Settings, say: Any, logged: io.StringIO
) -> None:
    url = f"{store.origin}/x.jpg?X-Amz-Signature={SIGNATURE}"
    wire.says(
        say.http(200, {"status": "COMPLETED", "correctedFile": url}),
        say.http(302, Location=url),
        say.http(200, {"fileKey": "k", "upload_url": url}),
        say.http(500, {"error": f"{settings.api_key} {url}"}),
        say.http(200, {"fileKey": "k", "upload_url": url}),
    )
    store.says(say.http(200), say.http(302, Location=url), say.http(500), say.http(200, b"picture"))
    sender = senders(settings)
    assert SIGNATURE in (sender.send(calls.status("j")).corrected_file or "")
    sender.send(calls.status("j"))
    sender.send(calls.upload_url())
    with Client(settings) as client:
        client.upload(lambda: io.BytesIO(b"abc"), size=3)
        client.download(url, io.BytesIO())
        assert not has_canary(settings, repr(vars(client)))
    text = logged.getvalue()
    assert not has_canary(settings, text)
    assert "GET /status/j -> 302" in text and "PUT 127.0.0.2/x.jpg -> 200" in text


def test_other_peoples_requests_are_logged_as_ever(
    wire: Any, settings: Settings, say: Any, logged: io.StringIO
) -> None:
    import httpx

    wire.says(say.http(200, {"status": "PENDING"}))
    with Client(settings) as client:
        client.send(calls.status("j"))
    httpx.get(f"{wire.origin}/another-path")
    assert "another-path" in logged.getvalue()


@pytest.mark.parametrize(
    "call", [calls.status("j"), calls.start("k"), calls.upload_url(), calls.create_preset("n")]
)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 402, 403, 404, 500])
def test_an_answer_full_of_secrets_brings_none_into_the_error(
    senders: Any,
    wire: Any,
    settings: Settings,
    say: Any,
    call: calls.Call[Any],
    status: int,
    logged: io.StringIO,
) -> None:
    import dataclasses

    text = f"key {settings.api_key} at https://h/x?X-Amz-Signature={SIGNATURE} Signature={SIGNATURE}"
    wire.says(say.http(status, {"error": text, "correctedFile": text}))
    with pytest.raises(errors.PerfectlyClearError) as caught:
        senders(dataclasses.replace(settings, max_retries=0)).send(call)
    assert not has_canary(settings, everything_of(caught.value))
    assert not has_canary(settings, logged.getvalue())


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("escaped", ["", "/", "+=&", "ac"])
def test_a_key_is_found_however_json_spells_it(charset: str, escaped: str) -> None:
    key = "canary/key+0815=&x"
    text = json.dumps({"error": f"no such key {key}!"})
    for letter in escaped:
        text = text.replace(letter, "\\/" if letter == "/" else f"\\u{ord(letter):04X}")
    body = Body(None)
    body.add(text.encode(charset))
    for call in (calls.list_presets(), calls.start("k")):
        with pytest.raises(errors.PerfectlyClearError) as caught:
            call.read(body.answer(httpx.Response(400), key))
        assert "no such key ***!" in str(caught.value)


@pytest.mark.parametrize("fault", ["reset", "hang_up", "403", "500", "cut", "nonsense", "unsafe"])
def test_a_transfer_that_fails_names_the_path_and_not_the_signature(
    wire: Any, store: Any, settings: Settings, say: Any, fault: str, logged: io.StringIO
) -> None:
    import dataclasses

    body = f"<Error><Code>X</Code><SignatureProvided>{SIGNATURE}</SignatureProvided></Error>".encode()
    faults = {
        "cut": say.then(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", say.hang_up),
        "nonsense": b"nonsense\r\n\r\n",
        "unsafe": say.http(302, Location=f"https://u:p@h/?X-Amz-Signature={SIGNATURE}"),
    }
    store.says(faults.get(fault) or getattr(say, fault, None) or say.http(int(fault), body))
    url = f"{store.origin}/x.jpg?X-Amz-Signature={SIGNATURE}"
    with Client(dataclasses.replace(settings, max_retries=1)) as client:
        for transfer in (
            lambda: client.download(url, io.BytesIO()),
            lambda: client.put(url, lambda: io.BytesIO(b"abc"), size=3),
        ):
            try:
                transfer()
            except errors.PerfectlyClearError as error:
                assert not has_canary(settings, everything_of(error))
    assert not has_canary(settings, logged.getvalue())


def test_settings_show_neither_key_nor_proxy() -> None:
    shown = repr(Settings(api_key="canary", proxy="http://u:canary@proxy"))
    assert "canary" not in shown
