"""A network of its own for the broker: two cables, one to the line and one to the PLC.

Needs root and `ip`; delay and loss need tun devices as well (`chaos.cable`). What is missing is
found by trying, and said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field

from chaos.cable import CALM, Cable, Disturbance


class NotPossibleError(Exception):
    """This machine cannot do it; the text says why."""


@dataclass
class Namespace:
    """A network namespace with the broker's end of two cables; addresses 10.214.N.0/24.

    `no_disturbance`: why the line's packets cannot be delayed or lost here; empty where they can.
    """

    name: str
    number: int
    no_disturbance: str = ""
    _cable: Cable | None = field(default=None, init=False)

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another one in it."""
        return (_tool("ip"), "netns", "exec", self.name)

    @property
    def cables(self) -> tuple[str, str]:
        """The machine's ends: of the line's cable, and of the PLC's."""
        return f"ch{self.number}-line", f"ch{self.number}-plc"

    @property
    def line_host(self) -> str:
        """The broker's address on the line's cable."""
        return f"10.214.{self.number}.2"

    @property
    def plc_host(self) -> str:
        """The broker's address on the PLC's cable."""
        return f"10.214.{self.number}.6"

    def open(self) -> None:
        """Lay both cables. Raises NotPossibleError."""
        if os.getuid() != 0:
            raise NotPossibleError("it needs root")
        _ip("netns", "add", self.name)
        try:
            _ip("-n", self.name, "link", "set", "lo", "up")
            lines, plcs = self.cables
            try:
                self._cable = Cable(lines, f"{lines}-b", self.name)
            except OSError as error:
                self.no_disturbance = str(error)
                self._lay(lines)
            self._lay(plcs)
            for cable, first in ((lines, 1), (plcs, 5)):
                self._connect(cable, first)
        except NotPossibleError:
            self.close()
            raise

    def _lay(self, cable: str) -> None:
        peer = ("peer", "name", f"{cable}-b", "netns", self.name)
        _ip("link", "add", cable, "type", "veth", *peer)

    def _connect(self, cable: str, first: int) -> None:
        there = f"{cable}-b"
        _ip("addr", "add", f"10.214.{self.number}.{first}/30", "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", self.name, "addr", "add", f"10.214.{self.number}.{first + 1}/30", "dev", there)
        _ip("-n", self.name, "link", "set", there, "up")

    def close(self) -> None:
        """Take the cables away."""
        if self._cable is not None:
            self._cable.close()
        _ip("netns", "del", self.name)

    def pull(self, cable: str) -> None:
        """Cut a cable: both sides still believe in their connections."""
        _ip("-n", self.name, "link", "set", f"{cable}-b", "down")

    def plug(self, cable: str) -> None:
        """Mend it."""
        _ip("-n", self.name, "link", "set", f"{cable}-b", "up")

    def disturb(self, disturbance: Disturbance) -> None:
        """Delay or lose packets on the line's cable, where `no_disturbance` says nothing."""
        assert self._cable is not None, self.no_disturbance
        self._cable.disturb(disturbance)

    def calm(self) -> None:
        """Neither delay nor loss any more."""
        self.disturb(CALM)


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotPossibleError(f"there is no {name} (package iproute2)")
    return found


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(tool: str, *words: str) -> None:
    done = subprocess.run([_tool(tool), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cause = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotPossibleError(f"{tool} {' '.join(words[:3])}: {cause[0]}")
