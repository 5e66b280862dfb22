"""What a run of a line came to: for people at its end, and as JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from pipeline.control import LineStatistics, StageLoad
from pipeline.errors import ConfigError
from pipeline.messages import Verdict
from pipeline.telemetry import GpuSummary, gpu_summary_text


class RunSummary(msgspec.Struct, frozen=True):
    """The totals of one session; `latency_ms` holds `end_to_end` and one entry per stage.

    `stages`: the batches of each process that had any, since it was last started. `gpus`: those
    that the line computes on. `refused`: messages that each process could not use, since it was
    last started. `unrecorded`: verdicts that the reject log does not have yet. `lost`: verdicts
    that the ledger's disk never took, and that the reject log will not have.
    """

    line: int
    session: str
    statistics: LineStatistics
    stages: dict[str, StageLoad] = {}
    gpus: tuple[GpuSummary, ...] = ()
    refused: dict[str, int] = {}
    unrecorded: int = 0
    lost: int = 0

    def to_json(self) -> dict[str, Any]:
        """The mapping that `--summary FILE` writes."""
        statistics = self.statistics
        return {
            "line": self.line,
            "session": self.session,
            "parts": statistics.announced,
            "verdicts": {verdict.value: statistics.verdicts[verdict] for verdict in Verdict},
            "reasons": {reason.value: count for reason, count in statistics.reasons.items()},
            "latency_ms": msgspec.to_builtins(statistics.latency_ms),
            "parts_per_second": statistics.parts_per_second,
            "bundle": statistics.bundle_id,
            "calibration": statistics.calibration_id,
            "truth": msgspec.to_builtins(statistics.truth),
            "stages": msgspec.to_builtins(self.stages, str_keys=True),
            "gpus": msgspec.to_builtins(self.gpus),
            "refused": self.refused,
            "unrecorded": self.unrecorded,
            "lost": self.lost,
        }

    def write(self, file: Path) -> None:
        """Write the JSON. Raises ConfigError where the file cannot be written."""
        try:
            file.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--summary {file}: cannot be written: {error}") from error

    def text(self) -> str:
        """A few lines for a terminal."""
        counts = self.statistics.verdicts
        latency = self.statistics.latency_ms.get("end_to_end")
        lines = [
            f"Line {self.line}: {self.statistics.announced} parts, "
            + ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
            + f", {self.statistics.parts_per_second:.1f} parts/s"
        ]
        if latency:
            lines.append(
                f"  capture to verdict p50 {latency.p50:.0f} ms, p90 {latency.p90:.0f} ms, "
                f"p99 {latency.p99:.0f} ms"
            )
        reasons = sorted(self.statistics.reasons.items(), key=lambda item: -item[1])
        lines.append("  " + ", ".join(f"{reason} {count}" for reason, count in reasons))
        lines += [f"  {gpu_summary_text(gpu)}" for gpu in self.gpus]
        truth = self.statistics.truth
        if truth:
            lines.append(
                f"  truth: {truth.defective} defective parts, {truth.escapes} of them passed "
                f"(escapes); {truth.good} good parts, {truth.overkill} of them rejected (overkill)"
            )
        if self.unrecorded:
            lines.append(
                f"  {self.unrecorded} verdicts are not in the reject log yet: the next start "
                "records them from the ledger"
            )
        if self.lost:
            lines.append(
                f"  {self.lost} verdicts could not be written to the ledger and will not be in the "
                "reject log; free space on its disk, or mend it"
            )
        return "\n".join(line for line in lines if line.strip())
