"""Whether and when a request is sent again is a pure decision."""

from __future__ import annotations

import pytest

from airflow_provider_perfectlyclear.api.retry import LONGEST_WAIT, backoff, retry_after, wait_before_repeat

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("99999999999", LONGEST_WAIT),
        ("9" * 500, LONGEST_WAIT),
        ("1e400", LONGEST_WAIT),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10.0),
        ("Fri, 15 Jan 2027 08:00:10 -0000", 10.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2999 07:00:00 GMT", LONGEST_WAIT),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
        ("Fri, 15 Jan 99999999999 07:00:00 GMT", None),
        ("1; 2", None),
    ],
)
def test_retry_after_is_read_or_ignored_but_never_believed_blindly(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after(header, NOW) == seconds


def test_waits_double_up_to_30_seconds_and_the_dice_take_up_to_half() -> None:
    assert [backoff(n, lambda: 1.0) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff(2, lambda: 0.0) == 1.0
    assert backoff(100_000, lambda: 1.0) == 30


def wait(attempt: int = 0, *, repeatable: bool = True, asked: float | None = None) -> float | None:
    return wait_before_repeat(attempt, repeatable=repeatable, max_retries=2, dice=lambda: 1.0, asked=asked)


def test_what_may_not_be_repeated_is_not() -> None:
    assert wait(repeatable=False) is None


def test_after_max_retries_it_is_given_up() -> None:
    assert [wait(0), wait(1), wait(2)] == [0.5, 1.0, None]


def test_the_server_may_ask_for_more_but_not_for_ever() -> None:
    assert wait(asked=7.0) == 7.0
    assert wait(asked=0.1) == 0.5
    assert wait(asked=1e9) == LONGEST_WAIT
