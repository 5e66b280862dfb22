"""Strangers: at the sockets between the processes, and at the broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from socket import socket

from msgspec.structs import replace

from chaos import stranger
from chaos.fault import Fault, Hall, Kind
from pipeline.errors import LineError
from pipeline.messages import Part, Reason, Verdict
from plc.payloads import VerdictPayload, encode
from plc.topics import Topics

SENT_S = 5.0
FOREIGN_MESSAGES = 60
AHEAD = 50
"""So many parts later comes the one that a PASS is forged for."""


@dataclass
class AtTheSockets(Fault):
    """Connects to every socket of the run folder, and says something or listens."""

    say: Callable[[Path, Random], stranger.Words] = stranger.noise
    drawn: Random = field(default_factory=Random)
    _peers: list[socket] = field(default_factory=list)

    def inflict(self, hall: Hall) -> None:
        sockets = sorted(path for path in hall.config.run_dir.iterdir() if path.is_socket())
        if not sockets:
            raise LineError("the line has no sockets")
        found = (stranger.knock(path, self.say(path, self.drawn)) for path in sockets)
        self._peers = [peer for peer in found if peer is not None]
        if not self._peers:
            raise LineError(f"none of {len(sockets)} sockets took the stranger's connection")

    def end(self, hall: Hall) -> None:
        for peer in self._peers:
            peer.close()


@dataclass
class AtTheBroker(Fault):
    """Words on the topics that the line listens to; and verdicts that are none of its own, which a
    broker with an access list keeps away.
    """

    drawn: Random = field(default_factory=Random)

    def inflict(self, hall: Hall) -> None:
        topics = Topics(hall.config.mqtt.topic_root)
        listens_to = (topics.command, topics.ack)
        messages = [
            (self.drawn.choice(listens_to), nonsense(hall.view.session, self.drawn))
            for _ in range(FOREIGN_MESSAGES)
        ]
        if hall.broker is not None:
            genuine = next(reversed(hall.view.verdicts.values()))[0].payload
            messages += [(topics.verdict, forged(genuine, hall.view.sequence + AHEAD))]
        client = hall.access.new_client("stranger")
        client.connect(hall.access.host, hall.access.port)
        client.loop_start()
        try:
            for topic, payload in messages:
                sent = client.publish(topic, payload, qos=1)
                sent.wait_for_publish(SENT_S)
                if not sent.is_published():
                    raise LineError(f"the broker took no message of the stranger to {topic}")
        finally:
            client.disconnect()
            client.loop_stop()


def nonsense(session: str, drawn: Random) -> bytes:
    """What is no command and no acknowledgement, from noise to what nearly is one."""
    command = {"schema": "inspection.command/1", "id": "x", "command": "pause"}
    nearly: list[object] = [
        {**command, "command": "open the gate"},
        {**command, "id": "x" * 100},
        {**command, "id": 7},
        {**command, "recipe": "a", "schema": "inspection.command/9"},
        {**command, "command": "set_encoder", "position": "here", "speed": None},
        {"schema": "inspection.ack/1", "session": session, "sequence": -1},
        {"schema": "inspection.ack/1", "session": session, "sequence": 2**70},
        {"schema": "inspection.ack/1", "session": "another", "sequence": 1},
        [],
        None,
    ]
    noise = (b"", b"[" * 5000, drawn.randbytes(300), b"\xff\xfe{", b'"' + b"a" * 100_000 + b'"')
    return drawn.choice((*noise, *(json.dumps(item).encode() for item in nearly)))


def forged(genuine: VerdictPayload, sequence: int) -> bytes:
    """A PASS in good form for a part that the line has not seen yet."""
    part = Part(genuine.line, genuine.session, sequence)
    return encode(
        replace(
            genuine,
            part_id=part.part_id,
            sequence=sequence,
            verdict=Verdict.PASS,
            reason_code=Reason.BELOW_THRESHOLD,
            result_evaluation=1,
            score=0.0,
        )
    )


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    for name, say in (
        ("noise", stranger.noise),
        ("speaks", stranger.speech),
        ("steals", stranger.theft),
    ):
        yield Kind(f"stranger at sockets {name}", partial(_at_sockets, say=say))
    yield Kind("stranger at broker", _at_broker)


def _at_sockets(drawn: Random, say: Callable[[Path, Random], stranger.Words]) -> Fault:
    return AtTheSockets(drawn.uniform(0.5, 2), say=say, drawn=Random(drawn.random()))


def _at_broker(drawn: Random) -> Fault:
    return AtTheBroker(drawn=Random(drawn.random()))
