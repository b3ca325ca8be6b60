"""Whatever the service answers: our errors or a valid result, nothing secret, and soon."""

from __future__ import annotations

import gc
import json
import math
import pickle
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.models import JobStatus, Preset, PresetTarget, UploadTarget
from airflow_provider_perfectlyclear.api.safety import Guard
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.wire import Body
from tests.fuzz.answers import EVERY_CALL, FILLER, KEY, SEED, SIGNATURE, Case, case, enormous

#: For each of the seven calls.
CASES = 4_000

#: Seconds of CPU that one answer may cost: it blocks an event loop with a thousand triggers.
SLOWEST = 1.0

#: Bytes held at once while one answer is read.
MOST_MEMORY = 64 * 2**20

#: Bytes that stay behind after all of them: caches of the standard library, mostly.
MOST_LEFT = 2 * 2**20

#: Our own words around the at most 200 characters that are quoted.
OUR_WORDS = 200

_TO_THE_LETTER = {"preset_id": "", "file_key": "", "name": "", "description": ""}

_SETTINGS = Settings(api_key=KEY)
_GUARD = Guard(_SETTINGS, resolve=lambda name: ["93.184.216.34"])


@pytest.fixture(autouse=True)
def nothing_else_to_collect() -> Iterator[None]:
    """Other tests have left all of Airflow in memory; looking through it is no cost of reading an answer."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def off_the_wire(case: Case) -> Answer:
    """As both senders take it in, in pieces."""
    body = Body(case.headers.get("content-encoding"))
    for start in range(0, len(case.body), 65_536):
        if not body.add(case.body[start : start + 65_536]):
            break
    return body.answer(httpx.Response(case.status, headers=list(_as_bytes(case.headers))), KEY)


def _as_bytes(headers: dict[str, str]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers.items():
        yield name.encode(), value.encode("utf-8", "replace")


def check_invariants(call: str, case: Case) -> str:
    """Read an answer, and look at what came of it: ``read``, or the error's name."""
    began = time.process_time()
    try:
        result, data = _read(call, case)
    except errors.PerfectlyClearError as error:
        seconds = time.process_time() - began
        _look_at_error(error)
        said, outcome = [str(error)], type(error).__name__
    else:
        seconds = time.process_time() - began
        said, outcome = _look_at_result(result, data), "read"
    _look_for_secrets(said, case)
    # A processor that others use as well is slower at times: what was slow once is measured again.
    assert seconds < SLOWEST or min(_seconds(call, case) for _ in range(3)) < SLOWEST, f"{seconds:.2f} s"
    return outcome


def _read(call: str, case: Case) -> tuple[Any, Any]:
    result = EVERY_CALL[call].read(off_the_wire(case))
    return result, result.public() if isinstance(result, JobStatus) else None


def _seconds(call: str, case: Case) -> float:
    began = time.process_time()
    with suppress(errors.PerfectlyClearError):
        _read(call, case)
    return time.process_time() - began


def _look_at_error(error: errors.PerfectlyClearError) -> None:
    text = str(error)
    assert text.isprintable() and len(text) <= 200 + OUR_WORDS
    assert text.count(FILLER) <= 200
    assert error.__cause__ is None and error.__context__ is None
    assert str(pickle.loads(pickle.dumps(error))) == text


def _look_at_result(result: Any, data: Any) -> list[str]:
    """What a result says in words of its own, after a look at all of it. Names and ids are to the letter."""
    assert pickle.loads(pickle.dumps(result)) == result
    shown: list[str] = []
    for one in result if isinstance(result, list) else [result]:
        match one:
            case None:
                pass
            case str():
                assert one.isascii()
                shown += _lines([one], 200)
            case JobStatus():
                assert all(math.isfinite(n) for n in _numbers(data))
                assert len(json.dumps(data, allow_nan=False).encode()) < 3_000_000
                shown += _lines(_strings(data), 200)
                shown += [*_lines(_strings(one.model_dump(exclude={"corrected_file"})), 200), repr(one)]
                _open(one.corrected_file)
            case Preset():
                _lines([one.preset_id, one.name, one.description or ""], 2_000)
                shown.append(repr(one.model_copy(update=_TO_THE_LETTER)))
                _open(one.uri)
            case UploadTarget():
                _lines([one.file_key], 2_000)
                shown.append(repr(one.model_copy(update=_TO_THE_LETTER)))
                _open(one.upload_url)
            case PresetTarget():
                _lines([one.preset_id], 2_000)
                shown.append(repr(one.model_copy(update=_TO_THE_LETTER)))
                _open(one.upload_url)
            case _:
                raise AssertionError(f"{type(one)} is no result")
    return shown


def _lines(texts: Any, longest: int) -> list[str]:
    lines = list(texts)
    for line in lines:
        assert line.isprintable() and len(line) <= longest, (len(line), line[:300])
    return lines


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)


def _open(url: str | None) -> None:
    """A URL of any shape is refused in our words, or leads to another machine by https."""
    if url is None:
        return
    try:
        checked = _GUARD.check(url)
    except errors.UnsafeUrl as error:
        _look_at_error(error)
        assert SIGNATURE not in str(error)
    else:
        assert checked.scheme == "https" and checked.host and not checked.userinfo


def _look_for_secrets(said: list[str], case: Case) -> None:
    text = " ".join(said)
    assert KEY not in text
    if not case.damaged:
        # A text in another charset, taken for UTF-8, has a gap after each letter: one can still read it.
        for secret in (KEY, SIGNATURE, "canarycredential"):
            assert secret not in text and secret not in text.replace(" ", "")


@pytest.mark.parametrize("call", EVERY_CALL)
def test_any_answer_is_read_or_refused_in_our_own_words(call: str, record_property: Any) -> None:
    outcomes: dict[str, int] = {}
    for number in range(CASES):
        answer = case(call, number)
        try:
            outcome = check_invariants(call, answer)
        except Exception as error:
            raise AssertionError(f"seed {SEED}, case({call!r}, {number}): {error!r}: {answer}") from error
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    record_property("outcomes", outcomes)
    print(f"{call}: {CASES} answers: {outcomes}")
    # Mutations that leave nothing readable, or change nothing, would test nothing.
    assert 0.05 * CASES < outcomes["read"] < 0.95 * CASES
    assert len(outcomes) >= 6


def test_there_are_enough_cases() -> None:
    assert CASES * len(EVERY_CALL) >= 20_000


@pytest.mark.parametrize("call", EVERY_CALL)
def test_an_answer_of_the_largest_size_costs_as_little_as_any(call: str) -> None:
    for answer in enormous():
        gc.collect()
        try:
            check_invariants(call, answer)
        except Exception as error:
            raise AssertionError(f"{call}: {error!r}: {answer}") from error


def test_no_answer_takes_much_memory_and_none_leaves_any_behind(record_property: Any) -> None:
    """
    Every twentieth answer, and the largest for the two calls that pass most on: tracing makes them all many times
    as slow.
    """
    dice = random.Random(SEED)
    answers = [
        (call, case(call, number)) for call in EVERY_CALL for number in dice.sample(range(CASES), CASES // 20)
    ]
    answers += [(call, answer) for answer in enormous() for call in ("status", "list")]
    for call, answer in answers[::50]:
        _seconds(call, answer)  # what is made once and kept
    gc.collect()
    tracemalloc.start()
    try:
        highest = 0
        for call, answer in answers:
            tracemalloc.reset_peak()
            _seconds(call, answer)
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < MOST_MEMORY, f"{call}: {peak:,} bytes: {answer}"
            highest = max(highest, peak)
        gc.collect()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    record_property("peak", highest)
    print(f"{len(answers)} answers: at most {highest:,} bytes, {left:,} left")
    assert left < MOST_LEFT


def test_nesting_is_no_danger_however_little_stack_is_left() -> None:
    """A hook that is called deep in a stack reads the same answers."""
    bodies = [b"[" * 400 + b"]" * 400, b'{"error":' * 300 + b"1" + b"}" * 300]
    bodies += [b'{"status":"COMPLETED","detectionData":' + b'{"a":' * 200 + b"1" + b"}" * 201]
    bodies += [b'{"status":"FAILED","statusText":' + b"[" * 200 + b"]" * 200 + b"}"]

    def deeper(left: int, call: str, body: bytes) -> None:
        if left:
            deeper(left - 1, call, body)
        else:
            check_invariants(call, Case(200, {}, body))

    for call in EVERY_CALL:
        for body in bodies:
            deeper(sys.getrecursionlimit() - 400, call, body)
