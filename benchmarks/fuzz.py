"""Malformed messages against every socket and topic of a running line: nothing may end, every one
is counted where it came, and each real part in between has its one verdict.

    python -m benchmarks.fuzz --line 3 --messages 100000 --seed 1
    python -m benchmarks.fuzz --payload sparkplug     the topics of Sparkplug B alone: DCMD, NCMD

The line runs with its real processes and real sockets; the real messages go through this program,
which adds the malformed ones and spoils some of the real ones. Exit code 1 where the line broke a
promise.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import fuzz_sparkplug
from benchmarks.fuzz_port import PortAttack
from benchmarks.fuzz_samples import TOPICS, Refusal, part_of, refusals, series
from benchmarks.malformed import Frames, Malformed
from benchmarks.table import text_table
from benchmarks.tapped_line import PATIENCE_S, TappedLine, consumers
from pipeline.command_line import line_parser, load_arguments_line, run_command, whole_number
from pipeline.config import LineConfig
from pipeline.loopback import HOST
from pipeline.messages import Verdict
from reject_log.store import ReadStore, database_path

SPOILT_SHARE = 0.1
"""Of the real messages on these channels, those that arrive damaged."""
SPOILT = ("captured", "prepared", "reconstructed", "result")
MOST_USABLE = 10
"""Spoilt messages of a channel that are sound all the same, and are sent."""
PER_TURN = 50
MOST_ON_THE_WAY = 1000
"""Refused messages of MQTT that decision may not have counted yet: behind more of them, the broker
would not hear this program's sign of life in time."""
MQTT = (*TOPICS, *fuzz_sparkplug.MESSAGES)


@dataclass
class Target:
    """A socket or topic: what is sent there, and how many the line has to refuse."""

    name: str
    stage: str
    series: Malformed
    refused: Refusal
    send: Callable[[Frames], bool]
    sent: int = 0
    expected: int = 0
    usable: int = 0
    waiting: Frames | None = None

    def feed(self, limit: int) -> None:
        """Send some more, as far as there is room."""
        for _ in range(min(PER_TURN, limit - self.sent)):
            frames = self.waiting or self._next()
            self.waiting = frames
            if not self.send(frames):
                return
            self.waiting = None
            self.sent += 1
            self.expected += self.refused(frames)

    def _next(self) -> Frames:
        while True:
            frames = self.series.next()
            if self.refused(frames):
                return frames
            if self.usable < MOST_USABLE and self.name in SPOILT:
                self.usable += 1
                return frames


@dataclass
class Campaign:
    """One line, its targets, and what was found wrong."""

    line: TappedLine
    chance: random.Random
    messages: int
    targets: list[Target | PortAttack] = field(default_factory=list)
    spoilt: Counter[str] = field(default_factory=Counter)
    spoilt_parts: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)
    told_last: int = 0
    """The last part that the PLC was told of before the line ended."""

    def run(self) -> None:
        """Start the line, attack it, end it, and judge."""
        self.line.start()
        pids = {name: beat.pid for name, beat in self.line.beats.items()}
        self._aim()
        self._attack()
        self.line.changes = {"beat": self.line.changes["beat"]}
        self._settle()
        self._judge_port()
        self._judge_processes(pids)
        self.violations += self._differences()
        self.told_last = max(self.line.plc.verdicts, default=0)
        codes = self.line.stop()
        self._expect(set(codes.values()) == {0}, f"exit codes {codes}")
        self._judge_supervisor()
        self._judge_parts()

    def table(self) -> str:
        """What was sent where, and what was counted there."""
        rows = [
            (target.name, target.stage, f"{target.sent}", f"{target.expected}",
             f"{self.spoilt[target.name]}")
            for target in self.targets
        ]  # fmt: skip
        return text_table(("socket or topic", "taken by", "sent", "to refuse", "real ones spoilt"),
                          rows)  # fmt: skip

    def _aim(self) -> None:
        """At everything that takes messages; with Sparkplug B at its topics, since the sockets are
        the same.
        """
        if self.line.config.mqtt.sparkplug is None:
            self._aim_at_all()
            return
        judges = fuzz_sparkplug.refusals()
        for name, spoilt in fuzz_sparkplug.series(self.line.session, self.chance).items():
            target = Target(name, "decision", spoilt, judges[name], self._topic(name))
            self.targets.append(target)

    def _aim_at_all(self) -> None:
        line, chance = self.line, self.chance
        stage_of = {**dict(consumers()), "beat": "supervisor", "order": "every stage"}
        judges = refusals(line.config.line, line.session)
        spoilers = series(line.config.line, line.session, chance)
        for name, taker in stage_of.items():
            self.targets.append(Target(name, taker, spoilers[name], judges[name], self._way(name)))
        for topic in TOPICS:
            own = Target(topic, "decision", spoilers[topic], judges[topic], self._topic(topic))
            self.targets.append(own)
        for target in self.targets:
            if isinstance(target, Target) and target.name in SPOILT:
                line.changes[target.name] = self._spoiler(target)

        self.targets.append(self._port())

    def _port(self) -> PortAttack:
        """Of the broker, as a host that speaks no MQTT finds it."""
        broker = self.line.config.mqtt.broker
        return PortAttack(HOST, broker.port, self.line.beats["broker"].pid, self.chance)

    def _attack(self) -> None:
        """Send everything, as far as the line goes on taking it."""
        sent, end_s = 0, time.monotonic() + PATIENCE_S
        while self._unfinished() and not self._dead():
            for target in self.targets:
                target.feed(self.messages)
            self.line.turn()
            before, sent = sent, sum(target.sent for target in self.targets)
            if sent > before:
                end_s = time.monotonic() + PATIENCE_S
            elif time.monotonic() > end_s:
                full = ", ".join(self._unfinished())
                self.violations.append(f"nothing was taken for {PATIENCE_S:g} s: {full}")
                return

    def _unfinished(self) -> list[str]:
        """Targets that were not sent everything yet, or had no real message spoilt."""
        return [
            target.name
            for target in self.targets
            if target.sent < self.messages
            or (target.name in SPOILT and not self.spoilt[target.name])
        ]

    def _way(self, name: str) -> Callable[[Frames], bool]:
        taps = self.line.taps[name]
        return lambda frames: self.chance.choice(taps).add(frames)

    def _topic(self, topic: str) -> Callable[[Frames], bool]:
        def say(frames: Frames) -> bool:
            on_the_way = self._to_refuse(*MQTT) - self.line.report("decision").refused
            return on_the_way < MOST_ON_THE_WAY and self.line.plc.say(topic, b"".join(frames))

        return say

    def _spoiler(self, target: Target) -> Callable[[Frames], Frames]:
        """Damages some real messages; their parts must not pass."""

        def change(frames: Frames) -> Frames:
            if self.spoilt[target.name] and self.chance.random() > SPOILT_SHARE:
                return frames
            spoilt = [frames[0], frames[1][: self.chance.randrange(len(frames[1]))], *frames[2:]]
            if self.chance.random() < 0.3:
                spoilt[0] = frames[0][: self.chance.randrange(len(frames[0]))]
            self.spoilt[target.name] += 1
            self.spoilt_parts.add(part_of(frames).sequence)
            return spoilt

        return change

    def _settle(self) -> None:
        """Until every message is counted and parts are inspected again."""
        before, end_s = self._inspected(), time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s and not self._dead():
            self.line.turn(20)
            if not self._differences() and self._inspected() > before + 3:
                return
        found = self._inspected() - before
        self._expect(found > 3, f"only {found} parts were inspected in {PATIENCE_S:g} s afterwards")

    def _inspected(self) -> int:
        """Parts that the PLC was told a PASS or a REJECT of."""
        heard = list(self.line.plc.verdicts.values())
        return sum(verdicts[0] is not Verdict.UNINSPECTED for verdicts in heard)

    def _differences(self) -> list[str]:
        """Where another number was counted than has to be refused."""
        expected: Counter[str] = Counter()
        orders = self._to_refuse("order")
        for target in self.targets:
            if target.name not in ("beat", "order", *MQTT):
                expected[target.stage] += target.expected + self.spoilt[target.name]
        found = []
        for stage in ("acquisition", *expected):
            counted, wanted = self.line.refused(stage), expected[stage] + orders
            if counted != wanted:
                found.append(f"{stage} counts {counted} refused messages, not {wanted}")
        mqtt = self._to_refuse(*MQTT)
        counted = self.line.report("decision").refused
        if counted != mqtt:
            found.append(f"decision counts {counted} refused MQTT messages, not {mqtt}")
        return found

    def _to_refuse(self, *names: str) -> int:
        return sum(target.expected for target in self.targets if target.name in names)

    def _dead(self) -> bool:
        return bool(self.line.dead())

    def _judge_processes(self, pids: dict[str, int]) -> None:
        self._expect(not self.line.dead(), f"ended: {', '.join(self.line.dead())}")
        now = {name: beat.pid for name, beat in self.line.beats.items()}
        self._expect(now == pids, f"other processes than before: {pids}, {now}")
        faults = {name: beat.fault for name, beat in self.line.beats.items() if beat.fault}
        self._expect(not faults, f"faults: {faults}")

    def _judge_port(self) -> None:
        """Nothing of all those connections is left open."""
        for port in (target for target in self.targets if isinstance(target, PortAttack)):
            port.close()
            end_s = time.monotonic() + PATIENCE_S
            while port.left_open and time.monotonic() < end_s and not self._dead():
                self.line.turn()
            self._expect(not port.left_open, f"{port.left_open} descriptors of the broker are left")

    def _judge_supervisor(self) -> None:
        wanted = self._to_refuse("beat")
        counted = self.line.summary()["refused"]["supervisor"]
        self._expect(counted == wanted, f"supervisor counts {counted} refused beats, not {wanted}")

    def _judge_parts(self) -> None:
        """Log, summary and PLC agree; no PASS without a score, and none for a spoilt part. The PLC
        may have come after the first parts, and left before the last; a verdict that this flood let
        expire was named to it.
        """
        summary = self.line.summary()
        with ReadStore(database_path(self.line.config)) as store:
            records = [r for r in store.each() if r.part.session == self.line.session]
        numbers = sorted(record.part.sequence for record in records)
        self._expect(
            numbers == list(range(1, summary["parts"] + 1)),
            f"{len(numbers)} records of {summary['parts']} parts, not each once",
        )
        verdicts = Counter(record.verdict.value for record in records)
        self.verdicts = dict(verdicts)
        self._expect(
            {v: n for v, n in summary["verdicts"].items() if n} == verdicts,
            f"the summary says {summary['verdicts']}, the log {verdicts}",
        )
        self._expect(any(v != "UNINSPECTED" for v in verdicts), "no part was inspected")
        heard = self.line.plc.verdicts
        told_first = min(heard, default=1)
        for record in records:
            number, passed = record.part.sequence, record.verdict is Verdict.PASS
            proof = record.score is not None and record.score <= record.threshold
            self._expect(not passed or proof, f"part {number} passed without a score")
            told = set(heard.get(number, ()))
            right = told == {record.verdict}
            late = number in self.line.plc.undelivered
            absent = not told and (late or not told_first <= number <= self.told_last)
            self._expect(right or absent, f"part {number}: PLC was told {told or 'nothing'}")
            spoilt = number in self.spoilt_parts
            self._expect(not (spoilt and passed), f"part {number} passed, though it was spoilt")

    def _expect(self, holds: bool, violation: str) -> None:
        if not holds:
            self.violations.append(violation)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = line_parser("benchmarks.fuzz", __doc__ or "", default_line=3)
    parser.add_argument("--messages", type=whole_number(1), default=100_000, metavar="N",
                        help="malformed messages for each socket and topic")  # fmt: skip
    parser.add_argument("--payload", choices=("json", "sparkplug"), default="json",
                        help="what the line speaks (json)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same messages")
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        own = own_settings(Path(folder), options.payload)
        config = load_arguments_line(options, own)
        campaign = run_campaign(config, Path(folder), options.messages, options.seed)
    print(campaign.table())
    for violation in campaign.violations:
        print(f"VIOLATION {violation}")
    print(f"seed {options.seed}: {campaign.verdicts}; {len(campaign.violations)} violations")
    return 1 if campaign.violations else 0


def run_campaign(config: LineConfig, folder: Path, messages: int, seed: int) -> Campaign:
    """A line from start to end under so many messages for each socket and topic."""
    line = TappedLine(config, folder)
    campaign = Campaign(line, random.Random(seed), messages)
    try:
        campaign.run()
    finally:
        line.close()
    return campaign


def own_settings(folder: Path, payload: str = "json") -> list[tuple[str, Any]]:
    """A line of its own, with one process for each stage, at a pace that leaves time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        ("run_folder", str(folder / "run")),
        ("data_folder", str(folder / "data")),
        ("mqtt.broker", {"kind": "embedded", "port": port}),
        ("mqtt.payload", payload),
        ("mqtt.sparkplug", fuzz_sparkplug.SECTION if payload == "sparkplug" else None),
        ("camera.rate_hz", 2),
        ("timing.deadline_ms", 20_000),
        ("stages", {}),
    ]


if __name__ == "__main__":
    sys.exit(main())
