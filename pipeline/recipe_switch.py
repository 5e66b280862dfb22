"""Another recipe for a line that waits: first checked beside the line, then loaded."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import LineConfig
from pipeline.config_file import write_line
from pipeline.control import Request

SUBJECTS = ("model bundle", "calibration")
"""What a recipe consists of, as `run_line --check` calls it."""
CHECK_TIMEOUT_S = 120.0
CANDIDATE_FILE = "recipe.yaml"


class RecipeCheck:
    """Checks bundle and calibration in a process of its own: loading them takes seconds, and the
    supervisor never waits.
    """

    def __init__(
        self, config: LineConfig, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._end_s = clock, clock() + CHECK_TIMEOUT_S
        file = folder / CANDIDATE_FILE
        write_line(config, file)
        command = [sys.executable, "-m", "pipeline.preflight", "--config", str(file)]
        command.append(f"--asked-for={config.asked_for}")
        command += [text for subject in SUBJECTS for text in ("--subject", subject)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def outcome(self) -> str | None:
        """None while it lasts, then an empty text, or what is wrong with the recipe."""
        if self._process.poll() is None:
            if self._clock() < self._end_s:
                return None
            self.close()
            return f"its check took longer than {CHECK_TIMEOUT_S:g} s"
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        self.close()
        code = self._process.returncode
        return "" if code == 0 else " ".join(said.split()) or f"its check ended with {code}"

    def close(self) -> None:
        """End the check if it still lasts."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass
class RecipeSwitch:
    """A change of recipe on its way; `loading` from the moment that the old one is given up."""

    request: Request
    config: LineConfig
    check: RecipeCheck
    checked: bool = False
    loading: bool = False
