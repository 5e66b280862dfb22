"""An MQTT 3.1.1 broker inside the line, for lines without one in the plant.

Anonymous, and on the loopback address only: for commissioning, demonstration, and a PLC runtime or
gateway on the same machine. Retained messages live as long as the process. A client that is killed
leaves its will at once; one that is only frozen leaves none until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig

from pipeline.control import LineOrder, StageReport
from pipeline.errors import LineError
from pipeline.loopback import HOST, bind_fault, port_fault
from pipeline.messages import Message
from pipeline.stage import Stage, StageContext

START_S = 10.0
"""Longest time until the port listens; 0.03 s is usual."""
SHUTDOWN_S = 0.8
"""Longest time for saying goodbye to clients; after it their connections are cut."""


def build(context: StageContext) -> Stage:
    """The broker's stage, on the configured port."""
    broker = context.config.mqtt.broker
    assert broker.kind == "embedded", "the table runs this stage only for the embedded broker"
    return EmbeddedBrokerStage(broker.port, context.bell.ring)


class EmbeddedBrokerStage:
    """Runs the broker in a thread of its own, which calls `ended`; the stage's calls only watch."""

    def __init__(self, port: int, ended: Callable[[], None] = lambda: None) -> None:
        self._port, self._ended = port, ended
        self._thread = threading.Thread(target=self._run, name="mqtt-broker", daemon=True)
        self._settled = threading.Event()
        self._listening = False
        self._error: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def open(self) -> None:
        """Return when the port listens. Raises LineError where it cannot be had."""
        fault = port_fault(self._port)
        if fault is not None:
            raise LineError(fault)
        for noisy in ("amqtt", "transitions"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._thread.start()
        self._settled.wait(START_S)
        if not self._listening:
            raise LineError(self._why_not_listening())

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """No channel leads here."""
        assert not messages, "the broker consumes no channel"
        return ()

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Raises LineError when the broker has died, so that the process is started again."""
        if not self._thread.is_alive():
            raise LineError(f"the embedded MQTT broker has ended: {self._error}")
        return ()

    def report(self) -> StageReport:
        """Nothing beyond the loop's counters."""
        return StageReport()

    def close(self) -> None:
        """Say goodbye to clients and free the port, in less than a second."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its loop has just ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(SHUTDOWN_S + 0.2)

    def _why_not_listening(self) -> str:
        cause = self._error.__cause__ if self._error is not None else None
        if isinstance(cause, OSError):
            return bind_fault(self._port, cause)
        return f"the embedded MQTT broker does not start on port {self._port}: {self._error}"

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # outermost loop of the thread: tick reports it
            self._error = error
        finally:
            self._settled.set()
            self._ended()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        broker = Broker(_broker_config(self._port))
        await broker.start()
        self._listening = True
        self._settled.set()
        await self._stop.wait()
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)


def _broker_config(port: int) -> BrokerConfig:
    """One loopback listener and no plugin but the one that lets anonymous clients in."""
    return BrokerConfig(
        listeners={"default": ListenerConfig(bind=f"{HOST}:{port}")},
        plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    )
