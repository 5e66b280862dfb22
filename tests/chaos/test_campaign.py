"""A short campaign with each kind of broker, and how the command draws and says what it does."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from chaos.campaign import chosen_kinds, deck, main
from chaos.table import Campaign
from chaos.trial import Outcome
from chaos.violation import Violation
from pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "mosquitto": (
        "kill seg",
        "freeze dec",
        "hang rec",
        "kill sup",
        "broker",
        "clock b",
        "stranger",
    ),
    "embedded": ("kill broker", "damaged messages of d", "overload", "disk full", "camera re"),
}


LIMIT_S = {"mosquitto": 140, "embedded": 100}
"""Both campaigns together take less than four minutes."""


@pytest.mark.slow
@pytest.mark.timeout(300)  # how long a hanging one is waited for
@pytest.mark.parametrize(("broker", "faults"), [("mosquitto", 8), ("embedded", 4)])
def test_a_short_campaign_finds_nothing(broker: str, faults: int, tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "chaos.campaign", "--broker", broker, "--seed", "5"]
    command += ["--faults", str(faults), "--rate", "8", "--json", str(report)]
    for kind in SHORT[broker]:
        command += ["--only", kind]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    content = json.loads(report.read_text())
    assert len(content["faults"]) == faults
    assert content["violations"] == 0
    assert content["seconds"] < LIMIT_S[broker]
    assert content["parts"] > 8 * faults
    assert content["rescored"] > 0


def test_every_kind_comes_once_before_any_comes_again_and_the_seed_decides() -> None:
    kinds = chosen_kinds(embedded=False, only=())
    names = [kind.name for kind in kinds]
    assert len(set(names)) == len(names)

    drawn = [kind.name for kind in islice(deck(kinds, seed=4), 2 * len(kinds))]

    assert sorted(drawn[: len(kinds)]) == sorted(drawn[len(kinds) :]) == sorted(names)
    assert drawn == [kind.name for kind in islice(deck(kinds, seed=4), 2 * len(kinds))]
    assert drawn != [kind.name for kind in islice(deck(kinds, seed=5), 2 * len(kinds))]


def test_kinds_are_chosen_by_how_they_begin() -> None:
    assert {kind.name for kind in chosen_kinds(embedded=True, only=["kill b", "disk"])} == {
        "kill broker",
        "disk full",
        "disk read-only",
    }
    with pytest.raises(ConfigError, match="no such kind"):
        chosen_kinds(embedded=True, only=["tea"])


def test_the_command_names_its_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "clock"]) == 0

    assert capsys.readouterr().out.split("\n")[:2] == ["clock forwards", "clock backwards"]


def test_the_table_says_how_to_repeat_a_violation() -> None:
    bad = Outcome(13, "kill decision", "", "20261122-071502-3f9a", 512, 0.84)
    bad.violations = [Violation(1, "has 2 verdicts in the ledger", ("s", 513))]
    missing = {"network loss": "it needs root"}
    campaign = Campaign(7, "embedded", 20.0, [bad], missing=missing, only=["kill dec"])

    text = campaign.text()

    assert "statement 1: part 513 of s: has 2 verdicts in the ledger" in text
    assert "--seed 7 --broker embedded --only 'kill dec' --just 13" in text
    assert "not possible here: network loss: it needs root" in text
    assert text.endswith("1 violations")
    assert campaign.content()["violations"] == 1
