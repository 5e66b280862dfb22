"""Who a program beside the line is at the broker: users and certificates from its command line.

The line's own user may neither command nor hear verdicts where the broker gives each side what it
needs, so a PLC, simulated or real, is another user.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.config import ExternalBroker, LineConfig, Tls
from pipeline.errors import ConfigError
from plc.access import Access, access_of


@dataclass(frozen=True)
class Credentials:
    """A user, its password's place, and a certificate with its key; None for what is not given."""

    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """The options that name a PLC's user at the broker."""
    group = parser.add_argument_group(
        "the PLC at the broker",
        "Without these it is the line's own user. A broker in the line itself knows no users.",
    )
    group.add_argument("--user", help="its user name, in place of the line's")
    group.add_argument("--password-env", metavar="NAME", help="variable that holds its password")
    group.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file whose first line is its password"
    )
    group.add_argument(
        "--certificate", type=Path, metavar="FILE", help="its certificate, in place of the line's"
    )
    group.add_argument("--key", type=Path, metavar="FILE", help="the key of its certificate")


def credentials(options: argparse.Namespace) -> Credentials:
    """What the command line says, paths relative to where it was given."""
    given: dict[str, Any] = {}
    for field in fields(Credentials):
        value = getattr(options, field.name)
        given[field.name] = value.resolve() if isinstance(value, Path) else value
    return Credentials(**given)


def plc_access(config: LineConfig, own: Credentials) -> Access:
    """The way to the line's broker for the PLC: as itself, or as the line where nothing is given.

    The line's certificate stands in for one that is not given, its user and password only where
    there is no other credential at all. Raises ConfigError, also for a line that does not speak
    JSON.
    """
    if config.mqtt.payload != "json":
        raise ConfigError(
            "mqtt.payload: plc_simulator reads JSON only; for Sparkplug B use a host application "
            "of yours, or set mqtt.payload to json for the test"
        )
    broker = config.mqtt.broker
    if own == Credentials() or not isinstance(broker, ExternalBroker):
        return access_of(config.mqtt)
    changed = broker.model_copy(
        update={
            "user": own.user,
            "password_env": own.password_env,
            "password_file": own.password_file,
            "tls": _tls(broker.tls, own),
        }
    )
    _check_password(own)
    return access_of(config.mqtt.model_copy(update={"broker": changed}))


def _check_password(own: Credentials) -> None:
    if own.password_env is not None and own.password_file is not None:
        raise ConfigError("give --password-env or --password-file, not both")
    if own.user is None and (own.password_env or own.password_file):
        raise ConfigError("a password needs a user: give --user as well")


def _tls(line: Tls | None, own: Credentials) -> Tls | None:
    if (own.certificate is None) != (own.key is None):
        raise ConfigError("--certificate and --key go together")
    if own.certificate is None:
        return line
    if line is None:
        raise ConfigError(
            "--certificate: the line connects without TLS; give mqtt.broker.tls with its ca_file"
        )
    return line.model_copy(update={"certificate_file": own.certificate, "key_file": own.key})
