"""Other people's text is printed in one short line without signatures."""

from __future__ import annotations

import pytest

from airflow_provider_perfectlyclear.api.text import one_line, without_query


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("plain", "plain"),
        ("a\nb\r\n\tc", "a b c"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("::group::x", "group::x"),
        ("##[error]x", "[error]x"),
        ("a\u202eb\u0000c", "a b c"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("%s %d {x}", "%s %d {x}"),
        ("see https://h/p/x.jpg?X-Amz-Signature=abc&y=1 now", "see https://h/p/x.jpg?... now"),
        ("https://user:secret@h/p", "https://h/p"),
        ("https:\\/\\/h\\/p?sig=abc", "https:\\/\\/h\\/p?..."),
        ("cut X-Amz-Signature=abcdef&z", "cut X-Amz-Signature=...&z"),
        ("token=abc", "token=..."),
        ("Signature%3Dabc", "Signature%3D..."),
        ("see https:\\u002f\\u002fh/p\\u003fsig\\u003Dabc", "see https://h/p?..."),
        ("Signature\\u003dabc", "Signature=..."),
        (7, "7"),
    ],
)
def test_text_is_made_safe(text: object, shown: str) -> None:
    assert one_line(text) == shown


def test_text_is_short_however_long_it_is() -> None:
    assert len(one_line("x" * 10_000_000)) == 200
    assert one_line("x" * 10, limit=5) == "xx..."


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h:8/a/b?c#d", "h/a/b"),
        ("https://[bad", "an unreadable URL"),
        ("", ""),
    ],
)
def test_a_url_is_named_by_host_and_path(url: str, shown: str) -> None:
    assert without_query(url) == shown
