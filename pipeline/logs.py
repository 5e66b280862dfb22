"""Log files: one per process, one JSON object per line, rotated, with the part where there is one.

log.info("frame is black", extra=part_extra(part))
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import LineConfig
from pipeline.errors import ConfigError
from pipeline.messages import Part


class JsonLines(logging.Formatter):
    """One JSON object per record: time (UTC), level, process, text, part, traceback."""

    def __init__(self, process: str) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self._process = process
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: dict[str, str] = {
            "time": f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "text": record.getMessage(),
        }
        part = getattr(record, "part", None)
        if part is not None:
            entry["part"] = str(part)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def part_extra(part: Part) -> Mapping[str, str]:
    """The `extra` of a log call that concerns a part."""
    return {"part": part.part_id}


def log_path(config: LineConfig, process: str) -> Path:
    """The log file of a process."""
    return config.log_folder / f"{process}.log"


def open_log(config: LineConfig, process: str, verbose: bool = False) -> logging.Logger:
    """Set up the log of this process; `verbose` also writes plain lines to the terminal.

    Raises ConfigError where the file cannot be written.
    """
    root = logging.getLogger()
    root.setLevel(config.logging.level.upper() if not verbose else "DEBUG")
    try:
        config.log_folder.mkdir(parents=True, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(
            log_path(config, process),
            maxBytes=int(config.logging.max_mb * 1e6),
            backupCount=config.logging.files,
            encoding="utf-8",
        )
    except OSError as error:
        raise ConfigError(
            f"the log of {process} cannot be written: {error.strerror} ({error.filename}); mend "
            "the folder's rights or its disk, or set data_folder"
        ) from error
    file.setFormatter(JsonLines(process))
    root.handlers = [file]
    if verbose:
        terminal = logging.StreamHandler()
        terminal.setFormatter(logging.Formatter(f"%(asctime)s {process}: %(message)s"))
        root.addHandler(terminal)
    for noisy in ("amqtt", "transitions", "asyncio", "PIL"):
        logging.getLogger(noisy).setLevel("WARNING")
    return logging.getLogger(process)
