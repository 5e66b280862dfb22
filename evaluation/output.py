"""Where an evaluation is written: checked before the work begins, and written whole or not at all.

What is being written has a hidden name beside its place, and gets its own in one step.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ConfigError, LineError
from pipeline.output_file import check_can_write

PAGE = "report.html"
FIGURES = "evaluation.json"
OF_A_REPORT = re.compile(
    rf"{re.escape(PAGE)}|{re.escape(FIGURES)}|(scores|images|pixels)\.png"
    r"|case_\d+_(hardest|easiest)_\d+\.png"
)


def check_file(option: str, file: Path) -> None:
    """Raises ConfigError where `file` cannot be written; leaves nothing behind."""
    if file.is_dir():
        raise ConfigError(f"{option} {file}: this is a folder; give the name of a file")
    if not _is_special(file):
        check_can_write(option, file)


def check_report_folder(option: str, folder: Path) -> None:
    """Raises ConfigError where `folder` cannot become a report; only a report is replaced."""
    check_folder(option, folder, OF_A_REPORT, "a report")


def check_apart(json: Path, report: Path) -> None:
    """Raises ConfigError where the file of --json lies where the folder of --report is replaced."""
    if json.resolve().is_relative_to(report.resolve()):
        raise ConfigError(
            f"--json {json}: this lies in the folder of --report {report}, which the report "
            f"replaces; it gets the same figures as {FIGURES}. Leave out --json, or give another "
            "place"
        )


def check_folder(option: str, folder: Path, own: re.Pattern[str], noun: str) -> None:
    """Raises ConfigError where `folder` cannot be written, or holds what is not `own`.

    `noun`, with its article, is what takes the place of the folder.
    """
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir())
        foreign = [name for name in names if not own.fullmatch(name)]
        if foreign:
            raise ConfigError(
                f"{option} {folder}: the folder holds {foreign[0]!r}, which is not of {noun}, and "
                f"a new one replaces the folder; give another one"
            )
    elif folder.exists():
        raise ConfigError(f"{option} {folder}: this is a file; give the name of a folder")
    check_can_write(option, folder)


def each_tried(*writings: Callable[[], object]) -> list[LineError]:
    """Do each of them, whatever becomes of the others; the errors of those that failed."""
    errors: list[LineError] = []
    for write in writings:
        try:
            write()
        except LineError as error:
            errors.append(error)
    return errors


def raise_all(errors: Sequence[LineError]) -> None:
    """Raises a LineError that says what all of them say, of the kind of the first; none of none."""
    if errors:
        raise type(errors[0])("\n".join(str(error) for error in errors)) from errors[0]


def write_text(file: Path, text: str) -> None:
    """The whole text, or what was there before. Raises LineError where it cannot be written."""
    try:
        if _is_special(file):
            file.write_text(text, encoding="utf-8")
        else:
            with new_file(file) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LineError(_cannot_write(file, error)) from error


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `file` at the end, or else disappears.

    Raises LineError where it cannot be written.
    """
    with _unfinished(file, Path.replace) as unfinished:
        yield unfinished


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` at the end, or else disappears.

    Raises LineError where it cannot be written.
    """
    with _unfinished(folder, _replace) as unfinished:
        unfinished.mkdir()
        yield unfinished


@contextmanager
def _unfinished(path: Path, finish: Callable[[Path, Path], object]) -> Iterator[Path]:
    """A name beside `path`; `finish` moves what was made there to its place."""
    place = path.resolve()
    unfinished = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        try:
            yield unfinished
            finish(unfinished, place)
        finally:
            _remove(unfinished)
    except OSError as error:
        raise LineError(_cannot_write(path, error)) from error


def _remove(unfinished: Path) -> None:
    if unfinished.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
    else:
        unfinished.unlink(missing_ok=True)


def _replace(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    aside = new.with_name(f"{new.name}.before")
    folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _is_special(file: Path) -> bool:
    """A pipe or a device, such as /dev/stdout: it is written to, never replaced."""
    return file.exists() and not file.is_file()


def _cannot_write(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written ({error.strerror or error}); make room, and repeat"
