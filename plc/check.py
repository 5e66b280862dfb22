"""Whether the line will find its broker: a real connection, before anything starts."""

from __future__ import annotations

import os
import queue
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.config import EmbeddedBroker, Mqtt
from pipeline.errors import ConfigError
from plc.access import Access, access_of, explain
from plc.loopback import port_fault


def check_broker(mqtt: Mqtt, timeout_s: float) -> str | None:
    """What stands between the line and its broker, in a sentence, or None.

    An external broker is asked for a connection; for the embedded one its port must be free.
    """
    if isinstance(mqtt.broker, EmbeddedBroker):
        return port_fault(mqtt.broker.port)
    try:
        access = access_of(mqtt)
    except ConfigError as error:
        return str(error)
    fault = _try_connection(access, timeout_s)
    return None if fault is None else f"MQTT broker {access.address}: {fault}"


def _try_connection(access: Access, timeout_s: float) -> str | None:
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def on_connect(
        _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        answers.put(_refusal(access, reason) if reason.is_failure else None)

    def on_disconnect(*_: Any) -> None:
        answers.put("it closed the connection without an answer; does it speak MQTT 5?")

    client = access.new_client(f"inspection-line-check-{os.getpid()}", timeout_s)
    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    try:
        client.connect(access.host, access.port, access.keepalive_s)
        client.loop_start()
        return answers.get(timeout=timeout_s)
    except (OSError, ValueError) as error:
        return explain(error)
    except queue.Empty:
        return "it takes the connection but does not answer in time"
    finally:
        client.disconnect()
        client.loop_stop()


def _refusal(access: Access, reason: ReasonCode) -> str:
    said = str(reason).lower()
    if "protocol version" in said:
        return f"it refuses the connection: {said}; the line needs a broker that speaks MQTT 5"
    who = "a client without user name" if access.user is None else f"user {access.user!r}"
    return f"it refuses {who}: {said}; check mqtt.broker.user and its password"
