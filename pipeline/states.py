"""The state machine of a line, after OPC 40100-1: THE table of what leads from where to where.

    PREOPERATIONAL ── all ready ──► READY ── start ──► RUNNING ◄─ trouble, mended ─► DEGRADED
           ▲    └─── or at once, with supervision.autostart ──►┘                        │
           │                                             pause │ ▲ resume       pause   │
        reset_fault                                            ▼ │                      │
           │                                                 PAUSED ◄───────────────────┘
         FAULT ◄── from everywhere but HALTED       stop, end ─► STOPPING ─► READY or HALTED

Only the supervisor moves the line, and each move has a cause that the PLC is told. Trouble in
READY, PAUSED and STOPPING, where no parts are taken, changes the cause and not the state.
"""

from __future__ import annotations

from enum import StrEnum

from pipeline.control import Command, LineState

S = LineState


class Event(StrEnum):
    """What may happen to a line."""

    WAIT = "all processes are ready, and the line is to wait for start"
    BEGIN = "all processes are ready, and the line begins by itself"
    START = "start was commanded"
    TROUBLE = "a process is away, or there is an alarm"
    MENDED = "the trouble is over"
    PAUSE = "pause was commanded"
    RESUME = "resume was commanded"
    RECIPE = "a recipe is being loaded, or has been loaded"
    STOP = "stop was commanded"
    END = "the line is to end: asked to, or the camera has no further parts"
    DRAINED = "every part has its verdict, and the line goes on waiting"
    HALT = "every part has its verdict, and the line ends"
    FAIL = "the line cannot go on by itself"
    RESET = "reset_fault was commanded"


E = Event

TRANSITIONS: dict[LineState, dict[Event, LineState]] = {
    S.PREOPERATIONAL: {
        E.WAIT: S.READY,
        E.BEGIN: S.RUNNING,
        E.END: S.STOPPING,
        E.FAIL: S.FAULT,
    },
    S.READY: {
        E.START: S.RUNNING,
        E.TROUBLE: S.READY,
        E.MENDED: S.READY,
        E.RECIPE: S.READY,
        E.END: S.STOPPING,
        E.FAIL: S.FAULT,
    },
    S.RUNNING: {
        E.TROUBLE: S.DEGRADED,
        E.PAUSE: S.PAUSED,
        E.STOP: S.STOPPING,
        E.END: S.STOPPING,
        E.FAIL: S.FAULT,
    },
    S.DEGRADED: {
        E.TROUBLE: S.DEGRADED,
        E.MENDED: S.RUNNING,
        E.PAUSE: S.PAUSED,
        E.STOP: S.STOPPING,
        E.END: S.STOPPING,
        E.FAIL: S.FAULT,
    },
    S.PAUSED: {
        E.RESUME: S.RUNNING,
        E.TROUBLE: S.PAUSED,
        E.MENDED: S.PAUSED,
        E.RECIPE: S.PAUSED,
        E.STOP: S.STOPPING,
        E.END: S.STOPPING,
        E.FAIL: S.FAULT,
    },
    S.STOPPING: {
        E.DRAINED: S.READY,
        E.HALT: S.HALTED,
        E.TROUBLE: S.STOPPING,
        E.MENDED: S.STOPPING,
        E.END: S.STOPPING,
        E.FAIL: S.FAULT,
    },
    S.FAULT: {E.RESET: S.PREOPERATIONAL},
    S.HALTED: {},
}

COMMAND_EVENTS: dict[Command, Event] = {
    Command.START: E.START,
    Command.STOP: E.STOP,
    Command.PAUSE: E.PAUSE,
    Command.RESUME: E.RESUME,
    Command.RESET_FAULT: E.RESET,
}
"""Commands that move the line."""

OTHER_COMMANDS: dict[Command, tuple[LineState, ...]] = {
    Command.SELECT_RECIPE: (S.READY, S.PAUSED),
    Command.NEXT_BATCH: (S.READY, S.RUNNING, S.DEGRADED, S.PAUSED),
    Command.SET_ENCODER: (
        S.PREOPERATIONAL,
        S.READY,
        S.RUNNING,
        S.DEGRADED,
        S.PAUSED,
        S.STOPPING,
    ),
}
"""Commands that change what the line works with, and where they are possible."""

CAPTURING = frozenset({S.RUNNING, S.DEGRADED})
"""States in which parts are taken."""


def next_state(state: LineState, event: Event) -> LineState | None:
    """Where an event leads; None where it changes nothing there."""
    return TRANSITIONS[state].get(event)


def allowed_in(command: Command) -> tuple[LineState, ...]:
    """The states in which a command is possible."""
    event = COMMAND_EVENTS.get(command)
    if event is None:
        return OTHER_COMMANDS[command]
    return tuple(state for state in LineState if event in TRANSITIONS[state])
