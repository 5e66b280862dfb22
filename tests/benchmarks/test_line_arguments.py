"""What the benchmark of a line is asked for."""

from __future__ import annotations

import pytest

from benchmarks.line import main


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--loads", "50,120"), "beyond it use --overload"),
        (("--sizes", "0"), "expected a number above 0"),
        (("--workers", "0"), "expected 1 or more"),
        (("--sizes", "large"), "large: expected a number"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_earlier_run_is_read_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--against", "no/such/file.json"]) == 2
    assert "--against no/such/file.json" in capsys.readouterr().err


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in ("--loads", "--sizes", "--workers", "--overload", "--endurance", "--against"):
        assert text.count(option) >= 2
