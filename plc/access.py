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

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pipeline.config import EmbeddedBroker, ExternalBroker, Mqtt, Tls
from pipeline.errors import ConfigError
from plc.loopback import HOST

CONNECT_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Access:
    """All that a connection needs; password and keys never show in a text of it."""

    host: str
    port: int
    keepalive_s: int
    protocol: MQTTProtocolVersion
    user: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)

    @property
    def address(self) -> str:
        """host:port, as people read it."""
        return f"{self.host}:{self.port}"

    def new_client(
        self, client_id: str, timeout_s: float = CONNECT_TIMEOUT_S, *, reconnect: bool = False
    ) -> paho.Client:
        """A client for one connection, or one that connects again by itself."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=self.protocol,
            reconnect_on_failure=reconnect,
        )
        client.connect_timeout = timeout_s
        if self.user is not None:
            client.username_pw_set(self.user, self.password)
        if self.tls is not None:
            client.tls_set_context(self.tls)
        return client


def access_of(mqtt: Mqtt) -> Access:
    """What the configuration says of the broker. Raises ConfigError for a missing file."""
    broker = mqtt.broker
    if isinstance(broker, EmbeddedBroker):
        return Access(
            HOST, broker.port, mqtt.keepalive_s, MQTTProtocolVersion.MQTTv311, None, None, None
        )
    return Access(
        host=broker.host,
        port=broker.port,
        keepalive_s=mqtt.keepalive_s,
        protocol=MQTTProtocolVersion.MQTTv5,
        user=broker.user,
        password=read_password(broker),
        tls=None if broker.tls is None else tls_context(broker.tls),
    )


def read_password(broker: EmbeddedBroker | ExternalBroker) -> str | None:
    """The broker's password from environment or file, None where none is configured.

    Raises ConfigError where the variable or the file is missing or empty.
    """
    if isinstance(broker, EmbeddedBroker):
        return None
    if broker.password_env is not None:
        password = os.environ.get(broker.password_env, "")
        source = f"mqtt.broker.password_env: environment variable {broker.password_env}"
    elif broker.password_file is not None:
        source = f"mqtt.broker.password_file: {broker.password_file}"
        try:
            password = broker.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source} cannot be read: {error}") from error
    else:
        return None
    if not password:
        raise ConfigError(f"{source} is not set or empty; put the password of {broker.user} there")
    return password


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS that trusts the configured authority and checks the host name. Raises ConfigError."""
    files = (tls.ca_file, tls.certificate_file, tls.key_file)
    missing = [str(file) for file in files if file is not None and not file.is_file()]
    if missing:
        raise ConfigError(f"mqtt.broker.tls: no such file: {', '.join(missing)}")
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_passphrase)
    except OSError as error:
        shown = ", ".join(str(file) for file in files if file is not None)
        raise ConfigError(f"mqtt.broker.tls: not usable as PEM ({error}): {shown}") from error
    return context


def explain(error: Exception) -> str:
    """Why a broker cannot be reached, in words for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
        return f"its certificate is not trusted: {reason}; check mqtt.broker.tls.ca_file and host"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS failed: {reason}; check port and certificates under mqtt.broker.tls"
    if isinstance(error, socket.gaierror):
        return f"the host name is not known ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: no broker listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error)


def _no_passphrase() -> str:
    """Asked for by OpenSSL if a key is encrypted; without it the terminal would be asked."""
    return ""
