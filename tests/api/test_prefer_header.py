from __future__ import annotations

import pytest

from api.http.prefer_header import Prefer, read


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Prefer()),
        ("", Prefer()),
        ("respond-async", Prefer(respond_async=True)),
        ("Respond-Async , WAIT=5", Prefer(respond_async=True, wait_s=5)),
        ("wait=5; foo=bar, respond-async;x", Prefer(respond_async=True, wait_s=5)),
        ('wait="5"', Prefer(wait_s=5)),
        ("wait=5, wait=7", Prefer(wait_s=5)),
        ("wait=99999999", Prefer(wait_s=30)),
        ("wait=-1", Prefer()),
        ("wait=²", Prefer()),
        ("wait=" + "9" * 5000, Prefer()),
        ("return=minimal, handling=lenient", Prefer()),
    ],
)
def test_reads(header: str | None, expected: Prefer):
    assert read(header, max_wait_s=30.5) == expected


def test_says_what_was_applied():
    assert Prefer(respond_async=True, wait_s=5).applied() == "respond-async, wait=5"
    assert Prefer(wait_s=5).applied() == "wait=5"
