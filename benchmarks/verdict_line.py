"""A real decision between a real mosquitto and stages that are played, run at one rate."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.line_choice import LineChoice
from benchmarks.line_run import end, last_words, line_command, places, start, summary_of
from benchmarks.process_memory import PROC, descendants, process_name
from benchmarks.verdict_figures import RateRun, figures, read_ledger
from benchmarks.verdict_player import played_rows
from benchmarks.verdict_reader import Reader, wait_for
from pipeline.config import LineConfig
from pipeline.errors import ConfigError, LineError
from pipeline.run_folder import CONFIG_FILE

LOOPBACK = "127.0.0.1"
LOOK_S = 0.1
BROKER = "mosquitto"
SPARKPLUG = "{group: bench, edge_node: line}"
MEASURED = ("decision", "recorder")
LAST_WORDS_S = 2.0
"""For what the broker still passes on when the line has ended."""


def mosquitto_program() -> str:
    """Where mosquitto is. Raises ConfigError where it is not installed."""
    found = shutil.which(BROKER, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ConfigError("there is no mosquitto on this machine; apt-get install mosquitto")
    return found


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """A broker on the loopback address, set as docs/plc.md says: port, process.

    Raises ConfigError where it is not installed, and LineError where it does not start.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    config = folder / "mosquitto.conf"
    lines = (
        f"listener {port} {LOOPBACK}",
        "allow_anonymous true",
        "persistence false",
        "set_tcp_nodelay true",
    )
    config.write_text("\n".join(lines) + "\n", encoding="ascii")
    process = subprocess.Popen(
        [mosquitto_program(), "-c", str(config)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        if not any("running" in text for text in process.stderr):
            raise LineError("mosquitto ended at once; try it by hand: mosquitto -p 18999")
        yield port, process.pid
    finally:
        end(process)
        process.stderr.close()


@dataclass(frozen=True)
class Play:
    """What is played. `picture_px`: longest side of the pictures, None as the line has them."""

    rate: float
    parts: int
    reject_share: float
    picture_px: int | None

    def arguments(self) -> list[str]:
        """For `benchmarks.verdict_player`."""
        words = ["--rate", str(self.rate), "--parts", str(self.parts)]
        words += ["--reject-share", str(self.reject_share)]
        return words if self.picture_px is None else [*words, "--picture-px", str(self.picture_px)]


def run_at(
    choice: LineChoice, payload: str, play: Play, new_reader: Callable[[LineConfig], Reader]
) -> RateRun:
    """A line and its reader, from the start to the end. Raises LineError where it fails."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, broker = stack.enter_context(mosquitto(folder))
        changed = choice.changed({**places(folder), **_broker(port, payload)})
        reader = new_reader(changed.load())
        stack.callback(reader.close)
        reader.start()
        line = _Line(folder, changed)
        stack.callback(line.end)
        line.start(play)
        cpu_ms = line.cpu_per_verdict(lambda: reader.count, broker, play.parts)
        line.finish()
        wait_for(lambda: reader.count >= play.parts, LAST_WORDS_S)
        ledger = read_ledger(changed.load().ledger_folder)
        return figures(play.rate, play.parts, ledger, reader.arrivals(), cpu_ms)


def cpu_s(pid: int) -> float:
    """Processor time of a process with all its threads, in steps of the kernel's clock (10 ms).

    Raises FileNotFoundError or ProcessLookupError where there is none.
    """
    text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _broker(port: int, payload: str) -> dict[str, str]:
    settings = {"mqtt.broker": f"{{kind: external, host: {LOOPBACK}, port: {port}}}"}
    if payload == "sparkplug":
        settings |= {"mqtt.payload": "sparkplug", "mqtt.sparkplug": SPARKPLUG}
    return settings


class _Line:
    """The supervisor with decision and recorder, and the player."""

    def __init__(self, folder: Path, choice: LineChoice) -> None:
        self._folder, self._choice = folder, choice
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, play: Play) -> None:
        """Start both. Raises LineError where the line ends at once."""
        command = line_command(self._choice, self._folder, None)
        for row in played_rows(self._choice.load()):
            command += ["--by-hand", row.name]
        self._processes.append(start(command, self._folder / "line.err"))
        config = self._folder / "run" / CONFIG_FILE
        self._until(config.exists)
        command = ["-m", "benchmarks.verdict_player", "--config", str(config), *play.arguments()]
        self._processes.append(start(command, self._folder / "player.err"))

    def cpu_per_verdict(
        self, heard: Callable[[], int], broker: int, parts: int
    ) -> dict[str, float]:
        """Milliseconds of processor time per verdict, of each process, between the first that is
        heard and the last.
        """
        self._until(lambda: heard() > 0)
        first, before = heard(), self._cpu_s(broker)
        after = before

        def over() -> bool:
            nonlocal after
            now = self._cpu_s(broker)
            after = now if now.keys() >= before.keys() else after  # else it has ended meanwhile
            return heard() >= parts or self._processes[0].poll() is not None

        self._until(over, whole=False)
        count = max(1, parts - first)
        return {name: round(1e3 * (after[name] - before[name]) / count, 4) for name in before}

    def _cpu_s(self, broker: int) -> dict[str, float]:
        found = {BROKER: cpu_s(broker)}
        with suppress(FileNotFoundError, ProcessLookupError):  # they end between two looks
            for pid in descendants(self._processes[0].pid):
                name = process_name(pid)
                if name in MEASURED:
                    found[name] = cpu_s(pid)
        return found

    def finish(self) -> None:
        """Wait for the end of the line. Raises LineError where it does not end well."""
        self._until(lambda: self._processes[0].poll() is not None, whole=False)
        summary_of(self._processes[0], self._folder)

    def end(self) -> None:
        """End what still runs."""
        for process in self._processes:
            end(process)

    def _until(self, condition: Callable[[], bool], *, whole: bool = True) -> None:
        """Raises LineError where the player fails, or with `whole` the line ends meanwhile."""
        while not wait_for(condition, LOOK_S):
            line, *players = self._processes
            if any(player.poll() for player in players) or (whole and line.poll() is not None):
                raise LineError(f"the line ended too early:\n{last_words(self._folder)}")
