"""What the benchmarks of a line print and write, and whether two runs of a benchmark agree."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.spread import Spread
from benchmarks.table import text_table
from pipeline.errors import ConfigError

ALLOWED = 0.10
"""How far apart the ratios of two runs may be, of the earlier one."""


@dataclass(frozen=True)
class Finding:
    """What one benchmark found: `content` for JSON, `text` for people, `ratios` to compare.

    `faults` says in a sentence each what must not be; empty when all is well.
    """

    content: Mapping[str, Any]
    text: str
    ratios: Mapping[str, Spread] = field(default_factory=dict)
    faults: Sequence[str] = ()


def machine_of_lines() -> dict[str, Any]:
    """Processor and cores of this machine."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {"cores": os.cpu_count(), "processor": models[0] if models else "unknown"}


def heading(bare: Mapping[str, Any]) -> str:
    """Machine, device, type and batch, as `benchmarks.bare_loop` found them."""
    machine = machine_of_lines()
    return (
        f"{machine['processor']}, {machine['cores']} cores; networks on {bare['device']} in "
        f"{bare['dtype']}, batch {bare['batch']}"
    )


def ratios_content(findings: Sequence[Finding]) -> dict[str, dict[str, float]]:
    """All ratios of a run as JSON, by name."""
    return {name: asdict(ratio) for found in findings for name, ratio in found.ratios.items()}


def read_ratios(file: Path) -> dict[str, Spread]:
    """The ratios of an earlier run. Raises ConfigError for a file without any."""
    try:
        written = json.loads(file.read_text(encoding="utf-8"))["ratios"]
        return {name: Spread(**ratio) for name, ratio in written.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--against {file}: not figures of an earlier run ({error}); give a file that --json "
            "has written"
        ) from error


def agreement(before: Mapping[str, Spread], now: Mapping[str, Spread]) -> Finding:
    """How far the ratios that both runs have are apart; a fault where there are none."""
    names = [name for name in now if name in before]
    if not names:
        fault = "--against: the two runs have no ratio in common; measure the same again"
        return Finding({}, "two runs without a ratio in common", {}, [fault])
    apart = {name: abs(now[name].median / before[name].median - 1) for name in names}
    rows = [
        [name, before[name].text(), now[name].text(), f"{100 * apart[name]:.1f} %"]
        for name in names
    ]
    faults = [
        f"{name} is {100 * apart[name]:.0f} % from the earlier run, more than {100 * ALLOWED:.0f} %"
        for name in names
        if apart[name] > ALLOWED
    ]
    table = text_table(("ratio", "before", "now", "apart"), rows)
    return Finding({"apart": apart}, f"two runs\n\n{table}", {}, faults)
