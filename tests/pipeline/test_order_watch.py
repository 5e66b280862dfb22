"""What a stage makes of the supervisor's orders and of their absence."""

from __future__ import annotations

import msgspec

from pipeline.control import LineOrder, LineState
from pipeline.order_watch import ORPHAN_AFTER_NS, SILENT, OrderWatch

SESSION, SECOND = "20261122-071502-3f9a", 1_000_000_000
RUNNING = LineOrder(SESSION, LineState.RUNNING, "ready", 1, capture=True, last_sequence=7)


def test_the_newest_order_of_the_session_counts() -> None:
    watch = OrderWatch(SESSION, 1.5, 0)
    assert watch.shown(0).state is LineState.PREOPERATIONAL
    watch.note(RUNNING, 1)
    watch.note(msgspec.structs.replace(RUNNING, session="another", state=LineState.FAULT), 2)
    watch.note(None, 3)
    assert watch.newest == watch.shown(3) == RUNNING


def test_a_silent_supervisor_of_a_running_line_is_shown_until_it_speaks() -> None:
    watch = OrderWatch(SESSION, 1.5, 0)
    watch.note(RUNNING, 0)
    assert watch.shown(int(1.5 * SECOND)) == RUNNING
    shown = watch.shown(int(1.5 * SECOND) + 1)
    assert (shown.state, shown.cause) == (LineState.DEGRADED, SILENT)
    assert shown.since_wall_ns > RUNNING.since_wall_ns
    rest = msgspec.structs.replace(shown, state=RUNNING.state, cause="ready", since_wall_ns=1)
    assert rest == RUNNING, "everything else is as it was ordered"
    assert watch.shown(3 * SECOND) == shown, "or the PLC would be told again and again"
    watch.note(RUNNING, 3 * SECOND)
    assert watch.shown(3 * SECOND) == RUNNING


def test_states_that_say_enough_are_left() -> None:
    watch = OrderWatch(SESSION, 1.5, 0)
    for state in set(LineState) - {LineState.RUNNING}:
        order = msgspec.structs.replace(RUNNING, state=state)
        watch.note(order, 0)
        assert watch.shown(9 * SECOND) == order


def test_a_supervisor_that_says_nothing_at_all_is_gone() -> None:
    watch = OrderWatch(SESSION, 1.5, 0)
    assert not watch.orphaned(ORPHAN_AFTER_NS)
    assert watch.orphaned(ORPHAN_AFTER_NS + 1)
    watch.note(RUNNING, ORPHAN_AFTER_NS)
    assert not watch.orphaned(2 * ORPHAN_AFTER_NS)
