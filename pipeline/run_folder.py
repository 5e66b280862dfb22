"""The folder of a running line: sockets, lock, session and configuration as run; mode 0700."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path

from pipeline.config import LineConfig
from pipeline.config_file import load_line, write_line
from pipeline.errors import ConfigError, LineError

CONFIG_FILE = "line.yaml"
OPTIONS_FILE = "options"
"""The options of the command that runs the line, as `LineConfig.asked_for` has them."""
SESSION_FILE = "session"
LOCK_FILE = "lock"
LOCK_ATTEMPTS = 100


class RunFolder:
    """Owns a line's run folder from `open` to `close`; two owners at once are impossible."""

    def __init__(self, config: LineConfig) -> None:
        self.path = config.run_dir
        self.session = new_session()
        self._config = config
        self._lock = -1

    @property
    def config_file(self) -> Path:
        """The configuration as run."""
        return self.path / CONFIG_FILE

    def open(self) -> None:
        """Take the lock, clean what a killed line left, write session and configuration.

        Raises LineError if the line is running already or the folder belongs to somebody else.
        """
        self._take_lock()
        self._clean()
        (self.path / SESSION_FILE).write_text(self.session, encoding="ascii")
        self.write_config(self._config)

    def write_config(self, config: LineConfig) -> None:
        """Write the configuration as run; processes that start from now on have it."""
        write_line(config, self.config_file)
        (self.path / OPTIONS_FILE).write_text(config.asked_for, encoding="utf-8")

    def close(self) -> None:
        """Remove the folder and let go of the lock."""
        if self._lock < 0:
            return
        self._clean()
        (self.path / LOCK_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the next owner may have moved in already
            self.path.rmdir()
        os.close(self._lock)
        self._lock = -1

    def _clean(self) -> None:
        for leftover in self.path.glob("*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif leftover.name != LOCK_FILE:
                leftover.unlink(missing_ok=True)

    def _take_lock(self) -> None:
        fault: OSError | None = None
        for _ in range(LOCK_ATTEMPTS):
            try:
                self._make()
                self._lock = self._locked(self.path / LOCK_FILE)
            except OSError as error:  # once or twice where a closing line took the folder with it
                fault = error
            if self._lock >= 0:
                break
        else:
            raise LineError(f"{self.path} is no use as a run folder: {fault}; set run_folder")
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _make(self) -> None:
        """Of the folder below the system's own, both levels: who owns the upper swaps the lower."""
        if self._config.run_folder is None:
            for folder in (self.path.parent, self.path):
                if folder.is_symlink():
                    raise LineError(f"{folder} is a link; remove it, or set run_folder")
                _make_private(folder)
        _make_private(self.path)

    def _locked(self, path: Path) -> int:
        """The locked file; -1 if a closing line removed it between open and lock."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            raise LineError(
                f"line {self._config.line} is running already (process {owner}); "
                "stop it first, or give this one another run_folder and data_folder"
            ) from error
        if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
            return file
        os.close(file)
        return -1


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise LineError(f"{folder} belongs to another user; set run_folder")
    folder.chmod(0o700)


def line_as_run(config: LineConfig) -> LineConfig:
    """The configuration as the running line has it, which is what its other processes use.

    Raises ConfigError where the line does not run.
    """
    written = config.run_dir / CONFIG_FILE
    if not written.exists():
        raise ConfigError(
            f"line {config.line} is not running (no {written}); "
            f"start it with: run_line --line {config.line} --by-hand STAGE"
        )
    options = config.run_dir / OPTIONS_FILE
    asked_for = options.read_text(encoding="utf-8") if options.exists() else ""
    return load_line(written).asked_for_by(asked_for)


def new_session() -> str:
    """A name for one run of a line: UTC time and a random tail; sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
