"""Silence of the PLC: when it is an alarm, and when it is none."""

from __future__ import annotations

from plc.ack_watch import AckWatch


def test_a_reject_that_is_acknowledged_in_time_is_no_alarm():
    watch = AckWatch(1.0)
    watch.expect(7, deadline_s=10.0)
    assert watch.alarm(10.9) == ""
    watch.acknowledge(7)
    assert (watch.alarm(99.0), watch.missed) == ("", 0)


def test_silence_is_an_alarm_that_stays_the_same_until_the_plc_speaks():
    watch = AckWatch(1.0)
    for sequence in (7, 8, 9):
        watch.expect(sequence, deadline_s=float(sequence))
    first = watch.alarm(8.5)
    assert "part 7 within 1 s" in first
    assert watch.alarm(11.0) == first
    assert watch.missed == 3
    watch.acknowledge(9)
    assert watch.alarm(12.0) == ""


def test_a_lost_connection_is_not_the_plcs_silence():
    watch = AckWatch(1.0)
    watch.expect(7, 1.0)
    watch.forget()
    assert watch.alarm(99.0) == ""


def test_without_a_window_nothing_is_expected():
    watch = AckWatch(None)
    watch.expect(7, 1.0)
    assert watch.alarm(99.0) == ""
