"""Whole lines with real processes: started, watched from outside, hurt, and judged at the end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.messages import Verdict, VerdictRecord
from reject_log.store import ReadStore

ROOT = Path(__file__).resolve().parents[2]
LINE_3 = ROOT / "configs" / "line_3.yaml"
TOPIC = "demo/plant-1/finishing/line-3/inspection"
WAIT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plc:
    """What a PLC sees: verdicts by part, the states of the line, and everything else, in order."""

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self.payloads: list[dict[str, Any]] = []
        self.states: list[str] = []
        self.status_s: list[float] = []
        """When each status came, by the monotonic clock."""
        self.said: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._commands = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{TOPIC}/#", qos=1)
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", port, keepalive=5)
        self._client.loop_start()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        with self._changed:
            if message.topic == f"{TOPIC}/verdict":
                self.payloads.append(payload)
            elif message.topic == f"{TOPIC}/status":
                self.states.append(payload["state"])
                self.status_s.append(time.monotonic())
            self.said[message.topic.rpartition("/")[2]].append(payload)
            self._changed.notify_all()

    def command(self, command: str, **values: Any) -> dict[str, Any]:
        """Send a command; its response."""
        self._commands += 1
        id_ = f"test-{self._commands}"
        payload = {"schema": "inspection.command/1", "id": id_, "command": command, **values}
        self._client.publish(f"{TOPIC}/command", json.dumps(payload), qos=1)

        def answered(plc: Plc) -> bool:
            return any(response["id"] == id_ for response in plc.said["response"])

        self.wait(answered, f"response to {command}")
        return next(r for r in self.said["response"] if r["id"] == id_)

    def wait_for_status(self, state: str, cause: str = "") -> dict[str, Any]:
        """The newest status once it has this state and cause."""

        def there(plc: Plc) -> bool:
            newest = plc.said["status"][-1] if plc.said["status"] else {"state": "", "cause": ""}
            return newest["state"] == state and cause in newest["cause"]

        self.wait(there, f"{state} {cause}")
        return self.said["status"][-1]

    def told(self, session: str) -> set[int]:
        """Every sequence of a session that has a verdict, or was named as undelivered."""
        found = {p["sequence"] for p in self.payloads if p["session"] == session}
        for summary in self.said["undelivered"]:
            if summary["session"] == session:
                for item in (*summary["undelivered"], *summary["unconfirmed"]):
                    found |= set(range(item["first"], item["last"] + 1))
        return found

    def wait(self, condition: Callable[[Plc], bool], what: str) -> None:
        assert self.heard(condition, WAIT_S), (
            f"no {what} within {WAIT_S:g} s; {len(self.payloads)} verdicts, {self.states}"
        )

    def heard(self, condition: Callable[[Plc], bool], within_s: float) -> bool:
        """Whether a condition comes true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), within_s)

    def wait_for_inspected(self, count: int) -> None:
        """Until this many more verdicts that rest on a score have come."""
        start = len(self.payloads)

        def enough(plc: Plc) -> bool:
            scored = [p for p in plc.payloads[start:] if p["verdict"] != "UNINSPECTED"]
            return len(scored) >= count

        self.wait(enough, f"{count} inspected parts")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Line:
    """One run of `run_line.py` with folders and a port of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list)
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    @property
    def run_folder(self) -> Path:
        return self.folder / "run"

    @property
    def data_folder(self) -> Path:
        return self.folder / "data"

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    def arguments(self) -> list[str]:
        settings = {
            "run_folder": self.run_folder,
            "data_folder": self.data_folder,
            "mqtt.broker.port": self.port,
            "timing.deadline_ms": 5000,
            "stages": "{}",  # a process for each stage; test_placement has them together
        }
        return [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]

    def start(self, *arguments: str, config: Path = LINE_3, ready: bool = True) -> None:
        """Start the line; with `ready`, return when it is RUNNING."""
        self.output.clear()
        self._lines = queue.Queue()
        command = [sys.executable, str(ROOT / "run_line.py"), "--config", str(config)]
        command += [*self.arguments(), "--summary", str(self.folder / "summary.json"), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        if ready:
            self.wait_for("RUNNING: all processes are ready")

    def wait_for(self, pattern: str) -> str:
        """The next line of output that the pattern matches."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {pattern!r} within {WAIT_S:g} s in:\n" + "\n".join(self.output))
            if line is None:
                pytest.fail(f"the line ended without {pattern!r}:\n" + "\n".join(self.output))
            if re.search(pattern, line):
                return line

    def wait(self) -> int:
        """The exit code, when the line has ended."""
        assert self.process is not None
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail("the line did not end:\n" + "\n".join(self.output))

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask the line to stop, as Ctrl-C does; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def stage_pid(self, stage: str) -> int:
        """The process that runs a stage now."""
        assert self.process is not None
        for pid, command in children(self.process.pid).items():
            if command[command.index("--stage") + 1] == stage:
                return pid
        pytest.fail(f"{stage} is not running")

    def records(self) -> list[VerdictRecord]:
        """Every row of the reject log, oldest first."""
        with ReadStore(self.data_folder / "reject_log.sqlite") as store:
            return sorted(
                store.list(since_wall_ns=0, verdicts=tuple(Verdict), limit=100_000),
                key=lambda record: (record.part.session, record.part.sequence),
            )

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        lines = self._lines
        for line in process.stdout:
            self.output.append(line.rstrip())
            lines.put(line.rstrip())
        lines.put(None)


def children(supervisor: int) -> dict[int, list[str]]:
    """The stage processes of a supervisor, by pid, with their commands."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"--supervisor\0{supervisor}\0" in "\0".join(command) + "\0":
            found[int(entry.name)] = command
    return found


def assert_one_verdict_each(line: Line, plc: Plc | None = None) -> list[VerdictRecord]:
    """Every number once in the log; summary and log agree; the PLC saw nothing else."""
    summary, session = line.summary, line.summary["session"]
    records = [record for record in line.records() if record.part.session == session]
    assert [record.part.sequence for record in records] == list(range(1, summary["parts"] + 1))
    assert sum(summary["verdicts"].values()) == summary["parts"]
    counts = Counter(record.verdict.value for record in records)
    assert {verdict: count for verdict, count in summary["verdicts"].items() if count} == counts
    for record in records:
        if record.verdict is Verdict.PASS:
            assert record.score is not None
            assert record.score <= record.threshold
            assert not record.late
    if plc is not None:
        by_part = {record.part.part_id: record for record in records}
        told: dict[str, dict[str, Any]] = {}
        for payload in plc.payloads:
            assert payload["verdict"] == by_part[payload["partId"]].verdict
            story = {key: payload[key] for key in payload if key not in ("remainingMs", "sentMs")}
            assert told.setdefault(payload["partId"], story) == story
    return records


@pytest.fixture
def line() -> Iterator[Line]:
    folder = Path(tempfile.mkdtemp(prefix="line-"))
    running = Line(folder, free_port())
    yield running
    running.kill()
    shutil.rmtree(folder)


@pytest.fixture
def plc(line: Line) -> Iterator[Plc]:
    watcher = Plc(line.port)
    yield watcher
    watcher.close()


@pytest.fixture
def verify() -> Callable[..., list[VerdictRecord]]:
    return assert_one_verdict_each


@pytest.fixture
def stage_pids() -> Callable[[Line], list[int]]:
    """All stage processes of a line."""

    def pids(line: Line) -> list[int]:
        assert line.process is not None
        return list(children(line.process.pid))

    return pids


@pytest.fixture
def gone() -> Callable[..., None]:
    """Wait until processes have ended, whoever their parent is now."""

    def wait(pids: Sequence[int], within_s: float) -> None:
        end = time.monotonic() + within_s
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    ended, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
                finally:
                    os.close(handle)
                assert ended, f"process {pid} is still there after {within_s:g} s"

    return wait


@pytest.fixture
def start_stage() -> Iterator[Callable[[Line, str], subprocess.Popen[bytes]]]:
    """Run one stage of a line by hand."""
    started: list[subprocess.Popen[bytes]] = []

    def start(line: Line, stage: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pipeline.stage_loop", "--config", str(LINE_3)]
        process = subprocess.Popen([*command, *line.arguments(), "--stage", stage], cwd=ROOT)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


class Mosquitto:
    """A real broker that a test starts and kills."""

    def __init__(self, port: int, folder: Path, *lines: str) -> None:
        self._config = folder / "mosquitto.conf"
        user = ["user root"] if os.getuid() == 0 else []
        known = [f"listener {port} 127.0.0.1", "allow_anonymous true", *user, *lines]
        self._config.write_text("\n".join(known) + "\n")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
        program = shutil.which("mosquitto", path=path)
        if program is None:
            pytest.fail("this test needs a real broker: apt-get install mosquitto", pytrace=False)
        self._process = subprocess.Popen(
            [program, "-c", str(self._config), "-v"], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        for text in self._process.stderr:
            if "running" in text:
                break
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    brokers: list[Mosquitto] = []

    def make(port: int, *lines: str) -> Mosquitto:
        brokers.append(Mosquitto(port, tmp_path, *lines))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the project to its end."""

    def run(command: Sequence[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=WAIT_S * 4,
            env=os.environ | kwargs.pop("env", {}),
            check=False,
            **kwargs,
        )

    return run
