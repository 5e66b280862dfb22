"""The reference in docs/ says what the schema says, of every key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from pipeline.config_reference import reference

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.compile(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)


def test_the_reference_in_docs_is_current() -> None:
    command = "python -m pipeline.config_reference > docs/configuration.md"
    stored = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert stored == reference(), f"the schema has changed; run: {command}"


def test_the_command_prints_the_reference() -> None:
    command = [sys.executable, "-m", "pipeline.config_reference"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed == reference()


def test_every_key_has_a_row_with_a_meaning() -> None:
    schema = LineConfig.model_json_schema()
    wanted = [
        key for node in [schema, *schema["$defs"].values()] for key in node.get("properties", {})
    ]
    rows = ROWS.findall(reference())
    assert sorted(row[0] for row in rows) == sorted(wanted)
    for key, value, default, meaning in rows:
        assert value, key
        assert default, key
        assert meaning.endswith("."), f"{key} has no sentence in pipeline/config.py"


def test_defaults_and_ranges_are_those_that_are_checked() -> None:
    text = reference()
    assert "| `deadline_ms` | whole number, 10 to 600,000 | **required** |" in text
    assert "| `size` | whole number, 1 to 256 | `8` |" in text
    assert "| `max_megapixels` | number, above 0 up to 400 | `30.0` |" in text
    assert "each a whole number, 64 to 2,048, a multiple of 32 | **required** |" in text
    assert '| `level` | `debug` or `info` or `warning` or `error` | `"info"` |' in text


@pytest.mark.parametrize("change", [("camera.rate_hz", 2), ("frame.input_px", [128, 128])])
def test_the_examples_of_the_introduction_work(change: tuple[str, Any]) -> None:
    assert f"{change[0]}={change[1]}" in reference()
    assert load_line(line_file(3), [change]) != load_line(line_file(3))
