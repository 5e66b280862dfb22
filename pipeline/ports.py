"""A stage's sockets taken together: what came in, what waits to go out, and the counts of both."""

from __future__ import annotations

from collections import Counter, deque

from pipeline.bell import Bell
from pipeline.config import LineConfig
from pipeline.errors import WireError
from pipeline.line import CHANNELS, Row, producers
from pipeline.messages import Message, Part
from pipeline.wire import Inlet, Outlet, Sleeper, StageControl, endpoint, new_context


class DamagedMessageError(WireError):
    """A message that cannot be used, and the channel on which it came; `part` is one of ours."""

    def __init__(self, channel: str, text: str, part: Part | None) -> None:
        super().__init__(text, part)
        self.channel = channel


class Ports:
    """All sockets of one worker of a row. Sending never waits: what finds no room is kept."""

    def __init__(self, row: Row, worker: int, config: LineConfig, session: str, bell: Bell) -> None:
        run_dir = config.run_dir
        self._ours = config.line, session
        self._zmq = new_context()
        self.control = StageControl(self._zmq, run_dir)
        self._outlets = {
            name: Outlet(
                self._zmq,
                endpoint(run_dir, row.name, worker, name),
                CHANNELS[name].capacity(config),
            )
            for name in row.produces
        }
        self._inlets = [
            Inlet(
                self._zmq,
                [endpoint(run_dir, maker, n, name) for maker, n in producers(name, config)],
                CHANNELS[name].capacity(config),
                CHANNELS[name].kind,
            )
            for name in row.consumes
        ]
        self._bell, self._sleeper = bell, Sleeper(self.control, bell)
        self._spoilt: Inlet | None = None
        self._full: set[str] = set()
        self._pending: deque[Message] = deque()
        self.received: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.dropped = 0

    def offers(self, channel: str) -> bool:
        """Whether this worker has an outlet for a channel."""
        return channel in self._outlets

    def receive(self) -> Message | None:
        """The next message of the first channel that has one.

        Raises DamagedMessageError for one that is damaged or not of this line and session; after it
        the other channels come first, so that a flood of such holds up none of them.
        """
        for inlet in sorted(self._inlets, key=lambda inlet: inlet is self._spoilt):
            try:
                message = self._read(inlet)
            except DamagedMessageError:
                self._spoilt = inlet
                raise
            if message is not None:
                self._spoilt = None
                return message
        return None

    def _read(self, inlet: Inlet) -> Message | None:
        try:
            message = inlet.receive()
        except WireError as error:
            self.received[inlet.channel] += 1
            part = error.part if error.part and self._is_ours(error.part) else None
            raise DamagedMessageError(inlet.channel, str(error), part) from error
        self.received[inlet.channel] += message is not None
        if message is not None and not self._is_ours(message.part):
            text = f"{message.part.part_id} is a part of another line or session"
            raise DamagedMessageError(inlet.channel, text, None)
        return message

    def _is_ours(self, part: Part) -> bool:
        return (part.line, part.session) == self._ours

    def put(self, message: Message) -> None:
        """Take a message for sending; it goes out with the next flush that finds room."""
        self._pending.append(message)

    def flush(self) -> None:
        """Send what finds room: a full channel holds back its own, a lossy one drops them."""
        held: deque[Message] = deque()
        full: set[str] = set()
        for message in self._pending:
            channel = message.channel
            if channel not in full and self._outlets[channel].send(message):
                self.sent[channel] += 1
            elif CHANNELS[channel].lossy:
                self.dropped += 1
            else:
                full.add(channel)
                held.append(message)
        self._pending = held
        self._full |= full

    @property
    def blocked(self) -> bool:
        """Whether messages wait for room."""
        return bool(self._pending)

    def room(self) -> bool:
        """Whether every lossless channel would take a message now."""
        lossless = (name for name in self._outlets if not CHANNELS[name].lossy)
        self._full = {name for name in lossless if not self._outlets[name].room()}
        return not self._pending and not self._full

    def wait(self, timeout_ms: int) -> None:
        """Sleep until an order, the bell, room where there was none when this was looked at last,
        or a message, unless this worker is blocked.
        """
        inlets = () if self.blocked else self._inlets
        self._sleeper.sleep(inlets, [self._outlets[name] for name in self._full], timeout_ms)
        self._bell.hear()

    def close(self) -> None:
        """Close every socket; what was sent last still has a second to be taken."""
        for outlet in self._outlets.values():
            outlet.close()
        for inlet in self._inlets:
            inlet.close()
        self.control.close()
        self._zmq.term()
