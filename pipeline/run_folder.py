"""The folder of a running line: sockets, lock, session and configuration as run; mode 0700."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path

from pipeline.config import LineConfig
from pipeline.config_file import write_line
from pipeline.errors import LineError

CONFIG_FILE = "line.yaml"
SESSION_FILE = "session"
LOCK_FILE = "lock"


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
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.path.stat().st_uid != os.getuid():
            raise LineError(f"{self.path} belongs to another user; set run_folder")
        self.path.chmod(0o700)
        self._take_lock()
        for leftover in self.path.iterdir():
            if leftover.name != LOCK_FILE:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        (self.path / SESSION_FILE).write_text(self.session, encoding="ascii")
        write_line(self._config, self.config_file)

    def close(self) -> None:
        """Remove the folder and let go of the lock."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    def _take_lock(self) -> None:
        path = self.path / LOCK_FILE
        while True:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
                os.close(self._lock)
                self._lock = -1
                raise LineError(
                    f"line {self._config.line} is running already (process {owner}); "
                    "stop it first, or give this one another run_folder and data_folder"
                ) from error
            if path.exists() and path.stat().st_ino == os.fstat(self._lock).st_ino:
                break
            os.close(self._lock)  # a closing line removed the file between open and lock
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)


def new_session() -> str:
    """A name for one run of a line: UTC time and a random tail; sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
