"""The broker between line and PLC: a real mosquitto that can be hurt, or the line's own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import ExternalBroker, LineConfig
from pipeline.errors import ConfigError, LineError
from plc.access import Access, access_of
from plc.access_list import access_list

LINE_USER, PLC_USER = "line-3", "plc-3"
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def embedded_settings(port: int) -> dict[str, Any]:
    """The `mqtt` settings of a line with a broker of its own."""
    return {"broker": {"kind": "embedded", "port": port}}


def plc_access(config: LineConfig, folder: Path) -> Access:
    """The PLC's way to the line's broker, as a user of its own where the broker knows users."""
    broker = config.mqtt.broker
    if not isinstance(broker, ExternalBroker):
        return access_of(config.mqtt)
    own = broker.model_copy(update={"user": PLC_USER, "password_file": folder / PLC_USER})
    return access_of(config.mqtt.model_copy(update={"broker": own}))


@dataclass
class Mosquitto:
    """A broker with two users and least privileges, nothing kept on disk. `inside`: the command
    that enters its network namespace, empty for the machine's own.
    """

    folder: Path
    host: str
    port: int
    inside: tuple[str, ...] = ()
    _process: subprocess.Popen[str] | None = None
    _root: str = field(default="", repr=False)

    def settings(self) -> dict[str, Any]:
        """The `mqtt` settings of a line that uses it."""
        return {
            "broker": {
                "kind": "external",
                "host": self.host,
                "port": self.port,
                "user": LINE_USER,
                "password_file": str(self.folder / LINE_USER),
            }
        }

    def prepare(self, topic_root: str) -> None:
        """Write passwords, access list and configuration."""
        self._root = topic_root
        self.folder.mkdir()
        for user in (LINE_USER, PLC_USER):
            (self.folder / user).touch(mode=0o600)
            (self.folder / user).write_text(f"password of {user}\n", encoding="ascii")
        self.write_passwords(refuse_line=False)
        self.write_rights(denied=None)
        listener = self.host if not self.inside else "0.0.0.0"
        lines = (
            f"listener {self.port} {listener}",
            "allow_anonymous false",
            f"password_file {self.folder / 'passwords'}",
            f"acl_file {self.folder / 'rights'}",
            "persistence false",
            "set_tcp_nodelay true",
            *(["user root"] if os.getuid() == 0 else []),
        )
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="ascii")

    def write_passwords(self, *, refuse_line: bool) -> None:
        """The password file, the line's password in it or another one. Read at start or reload."""
        file = self.folder / "passwords"
        file.unlink(missing_ok=True)
        for user in (LINE_USER, PLC_USER):
            password = (self.folder / user).read_text(encoding="ascii").strip()
            given = "another" if refuse_line and user == LINE_USER else password
            create = [] if file.exists() else ["-c"]
            command = [_program("mosquitto_passwd"), "-b", *create, str(file), user, given]
            subprocess.run(command, check=True, capture_output=True)

    def write_rights(self, *, denied: str | None) -> None:
        """The access list, without one of the line's topics. Read at start or reload."""
        text = access_list(3, self._root, LINE_USER, [PLC_USER], [])
        if denied is not None:
            text = text.replace(f"topic write {self._root}/{denied}\n", "", 1)
        (self.folder / "rights").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Return when it listens. Raises LineError where it ends instead."""
        config = str(self.folder / "mosquitto.conf")
        self._process = subprocess.Popen(
            [*self.inside, _program("mosquitto"), "-c", config, "-v"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for text in self._process.stderr:
            if "running" in text:
                break
        else:
            raise LineError("mosquitto ended at once; see its configuration, and whether it starts")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def send(self, number: signal.Signals) -> None:
        """A signal to its process."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it and wait for that; nothing where it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait()


def _program(name: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise ConfigError(f"there is no {name}: apt-get install mosquitto, or --broker embedded")
    return found
