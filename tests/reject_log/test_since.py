from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from pipeline.errors import ConfigError
from reject_log.since import parse_since

NOW_NS = 1_795_331_702_500_000_000
S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "age_s"),
    [("45s", 45), ("30m", 1800), ("8h", 28_800), ("2d", 172_800), (" 1h ", 3600), ("0s", 0)],
)
def test_ages(text, age_s):
    assert parse_since(text, NOW_NS) == NOW_NS - age_s * S


def test_an_age_before_1970_is_the_begin_of_time():
    assert parse_since("999999999d", NOW_NS) == 0


@pytest.mark.parametrize("text", ["2026-11-22T06:00:00+00:00", "2026-11-22T06:00Z"])
def test_a_time_with_an_offset(text):
    moment = datetime(2026, 11, 22, 6, tzinfo=UTC)
    assert parse_since(text, NOW_NS) == int(moment.timestamp()) * S


def test_fractions_of_a_second_are_exact():
    assert parse_since("2026-11-22T06:00:00.123456Z", NOW_NS) % S == 123_456_000


def test_a_time_without_an_offset_is_local(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_since("2026-11-22T07:00", NOW_NS) == parse_since("2026-11-22T06:00Z", NOW_NS)
        assert parse_since("2026-11-22", NOW_NS) == parse_since("2026-11-21T23:00Z", NOW_NS)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "8", "h", "-8h", "8.5h", "8w", "yesterday", "٨h", "8h 2d"])
def test_what_is_no_time_is_an_error_with_examples(text):
    with pytest.raises(ConfigError, match="30m, 8h or 2d"):
        parse_since(text, NOW_NS)


def test_the_future_is_an_error():
    with pytest.raises(ConfigError, match="future"):
        parse_since("2027-01-01", NOW_NS)
