"""The line's present order: transitions are numbered, and none is made up."""

from __future__ import annotations

import logging

import pytest

from pipeline.control import LineState
from pipeline.order_book import RECENT_TRANSITIONS, OrderBook


@pytest.fixture
def book() -> OrderBook:
    return OrderBook("s", "cap", logging.getLogger("book"))


def test_it_begins_preoperational_and_captures_nothing(book: OrderBook) -> None:
    order = book.order
    assert (order.session, order.recipe, order.state) == ("s", "cap", LineState.PREOPERATIONAL)
    assert (order.capture, order.stop, order.transitions) == (False, (), ())


def test_capturing_follows_from_the_state(book: OrderBook) -> None:
    seen = {}
    for state in (
        LineState.RUNNING,
        LineState.DEGRADED,
        LineState.PAUSED,
        LineState.STOPPING,
        LineState.READY,
        LineState.RUNNING,
        LineState.FAULT,
        LineState.PREOPERATIONAL,
    ):
        assert book.change(state, "because", ())
        seen[state] = book.order.capture
    assert {state for state, capture in seen.items() if capture} == {
        LineState.RUNNING,
        LineState.DEGRADED,
    }


def test_the_same_again_is_no_news_but_may_stop_more_stages(book: OrderBook) -> None:
    assert book.change(LineState.RUNNING, "ready", ())
    since = book.order.since_wall_ns
    assert not book.change(LineState.RUNNING, "ready", ("a",))
    assert (book.order.since_wall_ns, book.order.stop) == (since, ("a",))
    assert len(book.order.transitions) == 1


def test_the_latest_transitions_stay_in_the_order(book: OrderBook) -> None:
    for number in range(1, 40):
        state = LineState.RUNNING if number % 2 else LineState.DEGRADED
        assert book.change(state, f"cause {number}", ())
    kept = book.order.transitions
    assert [change.number for change in kept] == list(range(40 - RECENT_TRANSITIONS, 40))
    assert (kept[-1].state, kept[-1].cause) == (book.order.state, "cause 39")
    assert kept[-1].since_wall_ns == book.order.since_wall_ns


def test_a_way_that_the_table_does_not_know_is_a_mistake(book: OrderBook) -> None:
    with pytest.raises(AssertionError, match="nothing leads from PREOPERATIONAL to PAUSED"):
        book.change(LineState.PAUSED, "x", ())
