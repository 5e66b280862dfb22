"""A host application of Sparkplug B for the tests: births, deaths, numbers and the present values.

It knows the specification and Google's protobuf, nothing of the project.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

import sparkplug_proto

GROUP, NODE, DEVICE = "acme-plant-1", "line-3", "inspection"
SECTION = {"group": GROUP, "edge_node": NODE}
"""The line's own section `mqtt.sparkplug` for these names."""


class Host:
    """Sees one edge node; `faults` is what the specification forbids."""

    def __init__(self, port: int, wait_s: float = 10.0) -> None:
        self.faults: list[str] = []
        self.messages: list[tuple[str, dict[str, Any]]] = []
        """Type of message and values of its metrics, in the order of arrival."""
        self.alive = self.device_alive = False
        self.born: int | None = None
        """bdSeq of the present birth."""
        self.tags: dict[str, Any] = {}
        self.types: dict[str, int] = {}
        self._seq = 0
        self._wait_s = wait_s
        self._changed = threading.Condition()
        granted = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("spBv1.0/#", qos=1)
        self._client.on_subscribe = lambda *_: granted.set()
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", port, keepalive=5)
        self._client.loop_start()
        self._granted = granted

    def wait_subscribed(self) -> None:
        """Until the broker sends what comes."""
        assert self._granted.wait(self._wait_s), "no subscription"

    def wait(self, condition: Callable[[Host], object], what: str) -> None:
        """Until something holds; fails with what there was."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), self._wait_s), (
                f"no {what}; {self.kinds[-20:]}, {self.faults}"
            )

    @property
    def kinds(self) -> list[str]:
        """The types of all messages so far."""
        return [kind for kind, _ in self.messages]

    def data(self, folder: str) -> list[dict[str, Any]]:
        """Every DDATA of a folder, with the keys of its metrics."""
        return [
            {name.partition("/")[2]: value for name, value in values.items()}
            for kind, values in self.messages
            if kind == "DDATA" and all(name.startswith(f"{folder}/") for name in values)
        ]

    def next_data(self, folder: str, count: int = 1) -> dict[str, Any]:
        """The DDATA of a folder with this number, from 1, when it has come."""
        self.wait(lambda host: len(host.data(folder)) >= count, f"{count} of {folder}")
        return self.data(folder)[count - 1]

    def ask_for_rebirth(self) -> None:
        """NCMD with `Node Control/Rebirth`."""
        payload = sparkplug_proto.Payload(timestamp=time.time_ns() // 1_000_000)
        payload.metrics.add(name="Node Control/Rebirth", boolean_value=True)
        self._publish(f"spBv1.0/{GROUP}/NCMD/{NODE}", payload.SerializeToString())

    def write(self, **metrics: Any) -> None:
        """DCMD; `__` in a keyword stands for the slash of a metric's name."""
        data = sparkplug_proto.written(time.time_ns() // 1_000_000, **metrics)
        self._publish(f"spBv1.0/{GROUP}/DCMD/{NODE}/{DEVICE}", data)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, data: bytes) -> None:
        self._client.publish(topic, data, qos=0).wait_for_publish(self._wait_s)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        namespace, group, kind, node, *device = message.topic.split("/")
        assert (namespace, group, node) == ("spBv1.0", GROUP, NODE)
        if kind in ("NCMD", "DCMD"):
            return
        payload = sparkplug_proto.decode(message.payload)
        with self._changed:
            if self.born is not None or kind == "NBIRTH":  # else the births were missed
                self._check(kind, payload, message, device)
                self._take(kind, sparkplug_proto.values(payload))
            self.messages.append((kind, sparkplug_proto.values(payload)))
            self._changed.notify_all()

    def _check(self, kind: str, payload: Any, message: paho.MQTTMessage, device: list[str]) -> None:
        self._demand(device == ([DEVICE] if kind.startswith("D") else []), f"{kind} of {device}")
        self._demand(not message.retain, f"{kind} is retained")
        if kind == "NDEATH":
            self._demand(not payload.HasField("seq"), "NDEATH has a seq")
            return
        self._demand(payload.HasField("timestamp"), f"{kind} without a time")
        expected = 0 if kind == "NBIRTH" else (self._seq + 1) % 256
        self._demand(payload.seq == expected, f"{kind} {payload.seq} instead of {expected}")
        self._seq = payload.seq
        for metric in payload.metrics:
            self._demand(metric.timestamp > 0, f"{metric.name} without a time")
            if "BIRTH" in kind:
                self.types[metric.name] = metric.datatype
            else:
                self._demand(metric.name in self.types, f"{metric.name} was in no birth")

    def _take(self, kind: str, values: dict[str, Any]) -> None:
        if kind == "NBIRTH":
            self._demand(values["Node Control/Rebirth"] is False, "no rebirth metric")
            self.alive, self.device_alive, self.born = True, False, values["bdSeq"]
        elif kind == "NDEATH" and values["bdSeq"] == self.born:
            self.alive = self.device_alive = False
        elif kind == "DBIRTH":
            self._demand(self.alive, "DBIRTH before NBIRTH")
            self.device_alive, self.tags = True, values
        elif kind == "DDATA":
            self._demand(self.device_alive, "DDATA before DBIRTH")
            self.tags.update(values)
        elif kind == "DDEATH":
            self.device_alive = False

    def _demand(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)
