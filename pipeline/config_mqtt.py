"""The part of a line's configuration that says how it speaks with the PLC."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from pipeline.config_base import ConfigPath, Section

Topic = Annotated[str, StringConstraints(pattern=r"^[^/#+\s$][^#+\s]*[^/#+\s]$", max_length=200)]
SparkplugId = Annotated[
    str, StringConstraints(pattern=r"^[^/#+\s]([^/#+\x00-\x1f]*[^/#+\s])?$", max_length=100)
]


class EmbeddedBroker(Section):
    """An MQTT 3.1.1 broker in a process of the line, on the loopback address only."""

    kind: Literal["embedded"]
    """The line brings its own broker; it needs nothing else installed."""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """TCP port on 127.0.0.1; each line of a machine needs its own."""


class Tls(Section):
    """TLS 1.2 or newer; the files are read at each connection, so renewing needs no restart."""

    ca_file: ConfigPath
    """Certificate of the authority that signed the broker's, PEM; no other is trusted."""
    certificate_file: ConfigPath | None = None
    """Certificate of this line, PEM, where the broker asks for one."""
    key_file: ConfigPath | None = None
    """Its private key, PEM, without passphrase; the file must be closed to others (mode 600)."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Tls:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class ExternalBroker(Section):
    """An MQTT broker in the plant."""

    kind: Literal["external"]
    """The line connects to a broker that runs by itself."""
    host: Annotated[str, StringConstraints(min_length=1)]
    """Name or address of the broker."""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """TCP port of the broker, usually 1883, or 8883 with TLS."""
    user: str | None = None
    """User name towards the broker; null connects without one."""
    password_env: str | None = None
    """Environment variable that holds the password; passwords never stand in this file."""
    password_file: ConfigPath | None = None
    """File whose first line is the password, closed to others (mode 600); or password_env."""
    tls: Tls | None = None
    """Encryption towards the broker; null connects without it."""

    @model_validator(mode="after")
    def _one_password(self) -> ExternalBroker:
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("give password_env or password_file, not both")
        if self.user is None and (self.password_env or self.password_file):
            raise ValueError("a password needs a user")
        return self


class Sparkplug(Section):
    """Where the line stands among the edge nodes of the plant, in Sparkplug B."""

    group: SparkplugId
    """Group ID: what the plant's edge nodes have in common, for instance acme-plant-1."""
    edge_node: SparkplugId
    """Edge Node ID: this line; no other edge node of the group may have it."""
    device: SparkplugId = "inspection"
    """Device ID of the inspection below the edge node."""


class Mqtt(Section):
    """How the line speaks with the PLC."""

    broker: EmbeddedBroker | ExternalBroker = Field(discriminator="kind")
    """Who passes the messages on."""
    topic_root: Topic
    """Root of the line's topics: <enterprise>/<site>/<area>/line-3/inspection."""
    payload: Literal["json", "sparkplug"] = "json"
    """JSON on topics below topic_root, or Sparkplug B 3.0 on topics below spBv1.0."""
    sparkplug: Sparkplug | None = None
    """The line's names in Sparkplug B; goes together with payload: sparkplug."""
    keepalive_s: Annotated[int, Field(ge=2, le=300)] = 5
    """A silent connection is tested after this time, and given up after one and a half of it."""
    heartbeat_s: Annotated[float, Field(ge=0.1, le=60)] = 0.5
    """Period of the heartbeat; the PLC takes three missing ones for a dead line."""
    ack_window_s: Annotated[float, Field(gt=0, le=600)] | None = None
    """Time after a reject's deadline until its ack is missed; null expects no acks of the PLC."""

    @model_validator(mode="after")
    def _names_for_sparkplug(self) -> Mqtt:
        if (self.payload == "sparkplug") != (self.sparkplug is not None):
            raise ValueError("payload: sparkplug and the section sparkplug go together")
        return self
