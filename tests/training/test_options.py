from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ConfigError
from training.options import OPTIONS_OF_THEIR_OWN, parse_settings, settings_of
from training.settings import OF_PROFILE, TrainingSettings
from training.synthesis import AnomalyKind

DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"
ROW = re.compile(r"^\| `(\w+)` \| .+? \| (.+?) \| (.+?) \| .+\. \|$", re.MULTILINE)
BUDGET = {"steps": 1}


def settings(*texts: str, profile: str = "compact") -> TrainingSettings:
    return settings_of(profile, BUDGET, parse_settings(texts, "--option"))


def test_changes_outweigh_what_is_given_and_that_the_profile() -> None:
    plain = settings_of("texture", BUDGET, {})
    given = settings_of("texture", BUDGET | {"warp_share": 0.1}, {})
    changed = settings_of("texture", BUDGET | {"warp_share": 0.1}, {"warp_share": 0.2})

    assert [s.warp_share for s in (plain, given, changed)] == [0.7, 0.1, 0.2]
    assert {s.profile for s in (plain, given, changed)} == {"texture"}


def test_values_are_read_as_what_they_are() -> None:
    found = settings(
        "learning_rate=1e-4",
        "ema_decay=0",
        "rate_schedule=constant",
        "clip_norm=null",
        "flip_vertical=true",
        "kinds=[scratch, dent]",
        "textures=some/folder",
    )

    assert (found.learning_rate, found.ema_decay, found.clip_norm) == (1e-4, 0.0, None)
    assert (found.rate_schedule, found.flip_vertical) == ("constant", True)
    assert found.kinds == (AnomalyKind.SCRATCH, AnomalyKind.DENT)
    assert found.textures == "some/folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rates=1", "learning_rates: there is no such setting; there are .*learning_rate"),
        ("batch_size=1", "batch_size: .*greater than or equal to 2, not 1"),
        ("batch_size=2.5", "batch_size: .*valid integer.*, not 2.5"),
        ("batch_size=true", "batch_size: .*valid integer, not True"),
        ("ema_decay=1", "ema_decay: .*less than 1, not 1"),
        ("learning_rate=.inf", "learning_rate: .*finite number"),
        ("learning_rate=fast", "learning_rate: .*valid number, not 'fast'"),
        ("flip_vertical=1", "flip_vertical: .*valid boolean, not 1"),
        ("kinds=[rust]", "kinds.0: .*'perlin', 'scratch'.*, not 'rust'"),
        ("joint_share=0.1", "reconstruction_share must not be above joint_share"),
        ("beta_end", "--option beta_end: expected KEY=VALUE, for instance batch_size=8"),
        ("kinds=[", r"--option kinds=\[: the value is not valid YAML"),
        ("seed=3", "--option seed: seed has an option of its own"),
        ("profile=paper", "--option profile: profile has an option of its own"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(text)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"batch_size: .*; balance: "):
        settings("batch_size=0", "balance=2")


def test_the_table_in_docs_has_every_key_with_its_defaults() -> None:
    rows = {key: (default, paper) for key, default, paper in ROW.findall(DOCS.read_text("utf-8"))}
    fields = TrainingSettings.model_fields
    assert list(rows) == [key for key in fields if key not in OPTIONS_OF_THEIR_OWN]
    for key, (default, paper) in rows.items():
        stated = "all" if default == "all" else yaml.safe_load(default.strip("`"))
        assert stated == ("all" if key == "kinds" else fields[key].default), key
        with_paper = OF_PROFILE["paper"].get(key, "-")
        of_paper = paper if paper == "-" else yaml.safe_load(paper.strip("`"))
        assert of_paper == (list(with_paper) if isinstance(with_paper, tuple) else with_paper), key
