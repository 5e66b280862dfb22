"""The line that suffers, as its user runs it: `run_line.py` with real processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from chaos.counters import PartCounters
from chaos.switches import ENVIRONMENT, Switches
from pipeline.config import LineConfig
from pipeline.errors import LineError

ROOT = Path(__file__).resolve().parent.parent
SUPERVISOR = "supervisor"
STOP_S = 40.0
"""The line's own patience when it stops, and some more."""
DOORWAY = "from chaos.inside import enter\n\nenter()\n"


class RunningLine:
    """Starts and ends `run_line.py` with one configuration, over and over, in one folder."""

    def __init__(self, config: LineConfig, folder: Path) -> None:
        self.config, self._folder = config, folder
        self.counters = PartCounters(config.run_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self.switches = Switches(folder / "switches")
        self.temporary = folder / "temporary"
        """Where the line's processes put files that they mean to take away again."""
        self.temporary.mkdir()
        doorway = folder / "doorway"
        doorway.mkdir()
        (doorway / "sitecustomize.py").write_text(DOORWAY, encoding="ascii")
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{doorway}:{ROOT}",
            ENVIRONMENT: str(folder / "switches"),
            "TMPDIR": str(self.temporary),
        }

    @property
    def running(self) -> bool:
        """Whether the supervisor's process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def supervisor(self) -> int:
        """The supervisor's process."""
        assert self._process is not None
        return self._process.pid

    def start(self, rate_hz: float | None) -> None:
        """Start it; nothing is waited for."""
        rate = "null" if rate_hz is None else f"{rate_hz:.3f}"
        command = [sys.executable, str(ROOT / "run_line.py"), "--plain"]
        command += ["--config", str(self._folder / "line.yaml"), "--set", f"camera.rate_hz={rate}"]
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                cwd=ROOT,
            )

    def stop(self) -> int:
        """Ask it to end, as Ctrl-C does; its exit code. Raises LineError where it does not end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            raise LineError(f"the line did not end within {STOP_S:g} s") from error

    def kill(self) -> None:
        """End the supervisor without a word; the kernel ends the stages."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stages(self) -> dict[str, int]:
        """The processes of the line's stages now, by stage."""
        return {stage: pid for pid, stage in stage_processes(self.supervisor).items()}

    def processes(self) -> dict[int, str]:
        """Everything that any start of this line has left running: commands by pid."""
        mark = f"{ENVIRONMENT}={self._environment[ENVIRONMENT]}".encode()
        found = {}
        for entry in _processes():
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    found[int(entry.name)] = " ".join(words).strip()
        return found

    def strays(self) -> list[int]:
        """Processes of earlier starts, and of stages that were replaced; whoever the present
        supervisor and its stages have started, is not among them.
        """
        found = self.processes()
        known = {self.supervisor, *self.stages().values()}
        return [pid for pid in found if not known & {pid, *ancestors(pid)}]

    def pid(self, stage: str) -> int:
        """The process of a stage, or of the `supervisor`. Raises LineError where there is none."""
        if stage == SUPERVISOR:
            return self.supervisor
        found = self.stages()
        if stage not in found:
            raise LineError(f"{stage} is not running")
        return found[stage]


def stage_processes(supervisor: int) -> dict[int, str]:
    """Stages by pid that were started by a supervisor, whoever their parent is now."""
    found = {}
    for entry in _processes():
        with contextlib.suppress(OSError, ValueError):  # ended meanwhile, or not one of ours
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            if "--supervisor" in words and words[words.index("--supervisor") + 1] == str(
                supervisor
            ):
                found[int(entry.name)] = words[words.index("--stage") + 1]
    return found


def ancestors(pid: int) -> Iterator[int]:
    """The parents of a process, and theirs, as far as they are still there."""
    while pid > 1:
        try:
            words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # ended meanwhile
            return
        pid = int(words.rpartition(")")[2].split()[1])
        yield pid


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def wait_for_end(pids: list[int], within_s: float) -> list[int]:
    """Those of the processes that are still there after this time."""
    end_s = time.monotonic() + within_s
    left = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                ended, _, _ = select.select([handle], [], [], max(0.0, end_s - time.monotonic()))
            finally:
                os.close(handle)
            left += [] if ended else [pid]
    return left
