"""Whether the line will find its broker: a real connection, before anything starts."""

from __future__ import annotations

import os
import queue
import socket
import time
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.config import EmbeddedBroker, Mqtt
from pipeline.errors import ConfigError
from pipeline.loopback import port_fault
from plc.access import Access, access_of, explain
from plc.certificates import certificate_end, certificate_fault, tls_context

ALERT_S = 1.0
"""Longest wait for a broker's reason to close a connection."""
RENEW_DAYS = 30
"""A certificate that expires sooner is worth a warning."""
ON_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def check_broker(mqtt: Mqtt, timeout_s: float) -> str | None:
    """What stands between the line and its broker, in a sentence, or None.

    An external broker is asked for a connection; for the embedded one its port must be free.
    Raises ConfigError where it is not, and where password, certificate or key are missing, no use
    or not private.
    """
    if isinstance(mqtt.broker, EmbeddedBroker):
        taken = port_fault(mqtt.broker.port)
        if taken is not None:
            raise ConfigError(taken)
        return None
    access = access_of(mqtt)
    fault = connection_fault(access, timeout_s)
    return None if fault is None else f"MQTT broker {access.address}: {fault}"


def cautions(access: Access) -> list[str]:
    """What is allowed, but will fail one day or is not as safe as it could be, in sentences."""
    found = []
    if access.password is not None and access.tls is None and access.host not in ON_THIS_MACHINE:
        found.append(
            f"the password of {access.user} crosses the network to MQTT broker {access.address} "
            "unencrypted; set mqtt.broker.tls"
        )
    if access.tls is not None:
        fault = certificate_fault(access.tls)
        end_s = certificate_end(access.tls) if fault is None else None
        if fault is not None:
            found.append(fault)
        elif end_s is not None and end_s - time.time() < RENEW_DAYS * 86_400:
            day = time.strftime("%Y-%m-%d", time.gmtime(end_s))
            found.append(f"{access.tls.certificate_file} expires on {day}; renew it in time")
    return found


def connection_fault(access: Access, timeout_s: float) -> str | None:
    """Why the broker does not take this client, in a sentence, or None after a connection."""
    answers: queue.SimpleQueue[ReasonCode | None] = queue.SimpleQueue()

    def on_connect(
        _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        answers.put(reason)

    client = access.new_client(f"inspection-line-check-{os.getpid()}", timeout_s)
    client.on_connect = on_connect
    client.on_disconnect = lambda *_: answers.put(None)
    try:
        client.connect(access.host, access.port, access.keepalive_s)
        client.loop_start()
        reason = answers.get(timeout=timeout_s)
    except (OSError, ValueError) as error:
        return not_connected(access, error)
    except queue.Empty:
        return "it takes the connection but does not answer in time"
    finally:
        client.disconnect()
        client.loop_stop()
    if reason is None:
        return closed_early(access)
    return _refusal(access, reason) if reason.is_failure else None


def not_connected(access: Access, error: Exception) -> str:
    """Why an attempt to connect failed, in words for people."""
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return closed_early(access)
    return explain(error)


def closed_early(access: Access) -> str:
    """Why a broker closed a connection without an answer, as far as can be found out.

    With TLS it may do so over the client's certificate, and its reason then comes after what this
    end takes for success; so that is asked for once more.
    """
    said = "it closed the connection without an answer"
    if access.tls is None:
        return f"{said}; does it speak MQTT 5, and no TLS on this port?"
    cause = certificate_fault(access.tls) or _alert(access)
    return f"{said}; does it speak MQTT 5?" if cause is None else f"{said}: {cause}"


def _alert(access: Access) -> str | None:
    """What the broker's TLS has against this client, None where it waits for MQTT."""
    assert access.tls is not None, "without TLS there are no alerts"
    try:
        context = tls_context(access.tls)
        with (
            socket.create_connection((access.host, access.port), ALERT_S) as plain,
            context.wrap_socket(plain, server_hostname=access.host) as secured,
        ):
            secured.recv(1)
    except TimeoutError:
        return None
    except (OSError, ValueError, ConfigError) as error:
        return explain(error)
    return None


def _refusal(access: Access, reason: ReasonCode) -> str:
    said = str(reason).lower()
    if "protocol version" in said:
        return f"it refuses the connection: {said}; the line needs a broker that speaks MQTT 5"
    who = "a client without user name" if access.user is None else f"user {access.user!r}"
    return f"it refuses {who}: {said}; check mqtt.broker.user and its password"
