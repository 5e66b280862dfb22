"""Log files: one JSON object per line, with part and traceback, rotated."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LineConfig
from pipeline.errors import ConfigError
from pipeline.logs import log_path, open_log, part_extra
from pipeline.messages import Part

MakeConfig = Callable[..., LineConfig]
PART = Part(3, "20261122-071502-3f9a", 123)


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_line_says_when_who_and_what(make_config: MakeConfig, root_log: logging.Logger) -> None:
    config = make_config()
    log = open_log(config, "decision")
    log.info("%d parts\nare late, naïvely", 3)
    logging.getLogger("elsewhere").warning("too")
    log.debug("not this")
    first, second = entries(config.log_folder / "decision.log")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {"level": "info", "process": "decision", "text": "3 parts\nare late, naïvely"}
    assert (second["level"], second["text"]) == ("warning", "too")


def test_a_line_about_a_part_names_it(make_config: MakeConfig, root_log: logging.Logger) -> None:
    config = make_config()
    open_log(config, "preprocessing").info("black", extra=part_extra(PART))
    (entry,) = entries(log_path(config, "preprocessing"))
    assert entry["part"] == "L3-20261122-071502-3f9a-000123"


def test_an_exception_leaves_its_traceback(
    make_config: MakeConfig, root_log: logging.Logger
) -> None:
    config = make_config()
    log = open_log(config, "decision")
    try:
        {}["missing"]
    except KeyError:
        log.exception("failed")
    (entry,) = entries(log_path(config, "decision"))
    assert entry["text"] == "failed"
    assert entry["traceback"].startswith("Traceback (most recent call last)")
    assert entry["traceback"].endswith("KeyError: 'missing'")


def test_files_are_rotated_and_only_so_many_are_kept(
    make_config: MakeConfig, root_log: logging.Logger
) -> None:
    config = make_config({"logging": {"max_mb": 0.002, "files": 2}})
    log = open_log(config, "decision")
    for number in range(100):
        log.info("line %d", number)
    files = sorted(file.name for file in config.log_folder.iterdir())
    assert files == ["decision.log", "decision.log.1", "decision.log.2"]
    assert all((config.log_folder / name).stat().st_size <= 2000 for name in files)
    assert entries(config.log_folder / "decision.log")[-1]["text"] == "line 99"


@pytest.mark.parametrize(("level", "written"), [("error", 1), ("warning", 2), ("debug", 4)])
def test_the_level_is_the_configured_one(
    make_config: MakeConfig, root_log: logging.Logger, level: str, written: int
) -> None:
    config = make_config({"logging": {"level": level}})
    log = open_log(config, "decision")
    for say in (log.debug, log.info, log.warning, log.error):
        say("x")
    assert len(entries(log_path(config, "decision"))) == written


def test_verbose_also_writes_everything_to_the_terminal(
    make_config: MakeConfig, root_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config({"logging": {"level": "error"}})
    open_log(config, "decision", verbose=True).debug("details")
    assert capsys.readouterr().err.endswith(" decision: details\n")
    assert len(entries(log_path(config, "decision"))) == 1


def test_talkative_libraries_are_kept_down(
    make_config: MakeConfig, root_log: logging.Logger
) -> None:
    config = make_config({"logging": {"level": "debug"}})
    open_log(config, "broker")
    logging.getLogger("amqtt.broker").info("a client said hello")
    assert entries(log_path(config, "broker")) == []


def test_a_log_that_cannot_be_written_is_a_users_mistake(make_config: MakeConfig) -> None:
    config = make_config()
    config.data_folder.mkdir()
    config.log_folder.write_text("in the way")
    with pytest.raises(ConfigError, match=r"log of decision cannot be written.*set data_folder"):
        open_log(config, "decision")
