"""How a line gets to its broker: address, protocol, password and certificates.

Towards an external broker the line speaks MQTT 5: only there does the acknowledgement of a publish
carry a reason code, so that a denial by the broker's access list is seen. The contract itself needs
nothing of version 5; the embedded broker speaks 3.1.1 only and denies nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pipeline.config import EmbeddedBroker, ExternalBroker, Mqtt, Tls
from pipeline.errors import ConfigError
from pipeline.loopback import HOST
from plc.certificates import check_private, explain_tls, tls_context

CONNECT_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Access:
    """All that a connection needs; the password never shows in a text of it."""

    host: str
    port: int
    keepalive_s: int
    protocol: MQTTProtocolVersion
    user: str | None
    password: str | None = field(repr=False)
    tls: Tls | None

    @property
    def address(self) -> str:
        """host:port, as people read it."""
        return f"{self.host}:{self.port}"

    def new_client(
        self, client_id: str, timeout_s: float = CONNECT_TIMEOUT_S, *, reconnect: bool = False
    ) -> paho.Client:
        """A client for one connection, or one that connects again by itself.

        Certificates are read anew, so that renewed ones count from the next connection on. Raises
        ConfigError where they are no longer there, or no use.
        """
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=self.protocol,
            reconnect_on_failure=reconnect,
        )
        client.connect_timeout = timeout_s
        client.max_inflight_messages = 0  # else paho keeps some back and calls them sent
        client.on_socket_open = _send_at_once
        if self.user is not None:
            client.username_pw_set(self.user, self.password)
        if self.tls is not None:
            client.tls_set_context(tls_context(self.tls))
        return client


def _send_at_once(_client: paho.Client, _data: Any, opened: Any) -> None:
    """Else the kernel keeps a verdict back until the broker has answered the reject before it."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def access_of(mqtt: Mqtt) -> Access:
    """What the configuration says of the broker.

    Raises ConfigError for a password, certificate or key that is missing, no use or not private.
    """
    broker = mqtt.broker
    if isinstance(broker, EmbeddedBroker):
        return Access(
            HOST, broker.port, mqtt.keepalive_s, MQTTProtocolVersion.MQTTv311, None, None, None
        )
    if broker.tls is not None:
        tls_context(broker.tls)
    return Access(
        host=broker.host,
        port=broker.port,
        keepalive_s=mqtt.keepalive_s,
        protocol=MQTTProtocolVersion.MQTTv5,
        user=broker.user,
        password=read_password(broker),
        tls=broker.tls,
    )


def read_password(broker: EmbeddedBroker | ExternalBroker) -> str | None:
    """The broker's password from environment or file, None where none is configured.

    Raises ConfigError where the variable or the file is missing or empty, or others may read it.
    """
    if isinstance(broker, EmbeddedBroker):
        return None
    if broker.password_env is not None:
        password = os.environ.get(broker.password_env, "")
        source = f"mqtt.broker.password_env: environment variable {broker.password_env}"
    elif broker.password_file is not None:
        source = f"mqtt.broker.password_file: {broker.password_file}"
        try:
            check_private(broker.password_file, "mqtt.broker.password_file")
            password = broker.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source} cannot be read: {error}") from error
    else:
        return None
    if not password:
        raise ConfigError(f"{source} is not set or empty; put the password of {broker.user} there")
    return password


def explain(error: Exception) -> str:
    """Why a broker cannot be reached, in words for people."""
    if isinstance(error, ssl.SSLError):
        return explain_tls(error)
    if isinstance(error, socket.gaierror):
        return f"the host name is not known ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: no broker listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error)
