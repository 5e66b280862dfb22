"""Which line is measured, and the same networks without a line around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import LineConfig
from pipeline.config_file import load_line, parse_override
from pipeline.errors import ConfigError, LineError

ROOT = Path(__file__).resolve().parent.parent
Settings = Mapping[str, str]
"""Changes of the configuration, by key path."""


@dataclass(frozen=True)
class LineChoice:
    """A configuration file, and changes as `--set` takes them."""

    file: Path
    overrides: tuple[str, ...]

    def changed(self, settings: Settings) -> LineChoice:
        """The same line with further changes."""
        return LineChoice(self.file, (*self.overrides, *(f"{k}={v}" for k, v in settings.items())))

    def arguments(self) -> list[str]:
        """What names it to any command."""
        changes = [word for text in self.overrides for word in ("--set", text)]
        return ["--config", str(self.file), *changes]

    def load(self) -> LineConfig:
        """Its configuration. Raises ConfigError."""
        return load_line(self.file, [parse_override(text) for text in self.overrides])


def check_choice(choice: LineChoice) -> LineConfig:
    """The line's configuration. Raises ConfigError for one that cannot be measured."""
    config = choice.load()
    if config.camera.kind != "simulated":
        raise ConfigError("the benchmark needs a line with a simulated camera")
    if config.mqtt.broker.kind != "embedded":
        raise ConfigError(
            "the benchmark needs a line with the embedded broker; give "
            "--set 'mqtt.broker={kind: embedded, port: 18833}'"
        )
    return config


def bare_loop(choice: LineChoice, batches: int) -> dict[str, Any]:
    """The same networks with nothing around; what `benchmarks.bare_loop` prints."""
    command = ["-m", "benchmarks.bare_loop", "--batches", str(batches), *choice.arguments()]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    result = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    if result.returncode != 0:
        raise LineError(f"benchmarks.bare_loop ended with {result.returncode}:\n{result.stderr}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured
