"""The state machine, exhaustively: every event in every state, and every command."""

from __future__ import annotations

from itertools import product

import pytest

from pipeline.control import Command, LineState
from pipeline.states import (
    CAPTURING,
    COMMAND_EVENTS,
    OTHER_COMMANDS,
    TRANSITIONS,
    Event,
    allowed_in,
    next_state,
)

P, R, N = LineState.PREOPERATIONAL, LineState.READY, LineState.RUNNING
D, H, S = LineState.DEGRADED, LineState.PAUSED, LineState.STOPPING
T, F = LineState.HALTED, LineState.FAULT
STATES = (P, R, N, D, H, S, T, F)

#                        P     R     N     D     H     S     T     F
EXPECTED = {
    Event.WAIT: (R, None, None, None, None, None, None, None),
    Event.BEGIN: (N, None, None, None, None, None, None, None),
    Event.START: (None, N, None, None, None, None, None, None),
    Event.TROUBLE: (None, R, D, D, H, S, None, None),
    Event.MENDED: (None, R, None, N, H, S, None, None),
    Event.PAUSE: (None, None, H, H, None, None, None, None),
    Event.RESUME: (None, None, None, None, N, None, None, None),
    Event.RECIPE: (None, R, None, None, H, None, None, None),
    Event.STOP: (None, None, S, S, S, None, None, None),
    Event.END: (S, S, S, S, S, S, None, None),
    Event.DRAINED: (None, None, None, None, None, R, None, None),
    Event.HALT: (None, None, None, None, None, T, None, None),
    Event.FAIL: (F, F, F, F, F, F, None, None),
    Event.RESET: (None, None, None, None, None, None, None, P),
}


def test_the_expectation_is_complete() -> None:
    assert set(STATES) == set(LineState)
    assert set(EXPECTED) == set(Event)


@pytest.mark.parametrize(("state", "event"), list(product(LineState, Event)))
def test_each_event_leads_where_it_should_in_each_state(state: LineState, event: Event) -> None:
    assert next_state(state, event) == EXPECTED[event][STATES.index(state)]


def test_every_state_can_be_reached_and_left_but_the_last() -> None:
    reached, edge = {P}, [P]
    while edge:
        for state in TRANSITIONS[edge.pop()].values():
            if state not in reached:
                reached.add(state)
                edge.append(state)
    assert reached == set(LineState)
    assert [state for state in LineState if not TRANSITIONS[state]] == [T]


def test_no_way_leads_from_a_fault_to_capturing_without_starting_anew() -> None:
    assert set(TRANSITIONS[F].values()) == {P}
    assert not set(TRANSITIONS[S].values()) & CAPTURING


COMMANDS = {
    Command.START: {R},
    Command.STOP: {N, D, H},
    Command.PAUSE: {N, D},
    Command.RESUME: {H},
    Command.RESET_FAULT: {F},
    Command.SELECT_RECIPE: {R, H},
    Command.NEXT_BATCH: {R, N, D, H},
    Command.SET_ENCODER: {P, R, N, D, H, S},
}


@pytest.mark.parametrize(("command", "state"), list(product(Command, LineState)))
def test_each_command_is_possible_where_it_should_be(command: Command, state: LineState) -> None:
    assert (state in allowed_in(command)) == (state in COMMANDS[command])


def test_a_command_moves_the_line_or_changes_what_it_works_with() -> None:
    assert set(COMMAND_EVENTS) | set(OTHER_COMMANDS) == set(Command)
    assert not set(COMMAND_EVENTS) & set(OTHER_COMMANDS)
