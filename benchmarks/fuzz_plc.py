"""The PLC of a line under attack: what it hears of parts, and a way to say anything to the line."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import msgspec

from pipeline.config import LineConfig
from pipeline.messages import Verdict
from plc.access import access_of
from plc.payloads import RESULT_EVALUATION, UndeliveredPayload
from plc.sparkplug.edge_node import NodeTopics
from plc.sparkplug.wire import number_of
from plc.topics import Topics

_VERDICTS: dict[int, Verdict] = {number: verdict for verdict, number in RESULT_EVALUATION.items()}


class Plc:
    """Speaks as its line does, in JSON or in Sparkplug B."""

    def __init__(self, config: LineConfig) -> None:
        access, names = access_of(config.mqtt), config.mqtt.sparkplug
        self._root = Topics(config.mqtt.topic_root)
        self._node = None if names is None else NodeTopics(names)
        own = [self._root.verdict, self._root.undelivered]
        self._hears = own if self._node is None else [self._node.of("DDATA")]
        self.undelivered: set[int] = set()
        """Parts that the line named as without a verdict; in JSON only."""
        self.verdicts: defaultdict[int, list[Verdict]] = defaultdict(list)
        """Everything that was said of a part, by its number."""
        self._client = access.new_client("fuzz-plc", reconnect=True)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topic, 1) for topic in self._hears]
        )
        self._client.on_message = self._on_message
        self._client.connect_async(access.host, access.port, access.keepalive_s)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.is_connected()

    def say(self, name: str, payload: bytes) -> bool:
        """Publish on the topic `command` or `ack`, or as DCMD or NCMD; False while the last ones
        have not left.
        """
        if not self.connected or self._client.want_write():
            return False
        topic = f"{self._root.root}/{name}" if self._node is None else self._node.of(name)
        return self._client.publish(topic, payload, qos=0).rc == 0

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        if message.topic == self._root.undelivered:
            for named in msgspec.json.decode(message.payload, type=UndeliveredPayload).undelivered:
                self.undelivered.update(range(named.first, named.last + 1))
        elif self._node is None:
            payload = json.loads(message.payload)
            self.verdicts[payload["sequence"]].append(Verdict(payload["verdict"]))
        elif (sequence := number_of(message.payload, "verdict/sequence")) is not None:
            evaluation = number_of(message.payload, "verdict/resultEvaluation")
            assert evaluation is not None, "a verdict has all of its metrics"
            self.verdicts[sequence].append(_VERDICTS[evaluation])
