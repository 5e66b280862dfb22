from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from calibration.calibrate import (
    ScoredNormals,
    calibrate,
    check_count,
    maybe_trained_on,
    named_here,
    unseen_images,
)
from calibration.images import NormalImages, PreparedPart, SkippedPart
from calibration.record import load_active, save_and_activate
from pipeline.config_file import load_line
from pipeline.errors import InputError
from stages.bundle import Bundle, load_bundle

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def normals(count: int, skipped: int = 0) -> NormalImages:
    rng = np.random.default_rng(0)
    parts = [PreparedPart(str(i), rng.integers(0, 9, (8, 8, 1), np.uint8)) for i in range(count)]
    left_out = [SkippedPart(f"bad_{i}.png", "not an image") for i in range(skipped)]
    return NormalImages(tuple(parts), tuple(left_out), "folder /images")


def test_the_record_says_what_was_fitted_on_what(tiny_line: Path, tmp_path: Path) -> None:
    config, bundle = load_line(tiny_line), load_bundle(tiny_line.parent / "bundle")
    scores = np.random.default_rng(1).permutation(np.arange(1, 100) / 1000)
    scored = ScoredNormals(normals(99, skipped=2), scores, "cpu", "float32")
    record = calibrate(config, bundle, scored, 0.01, NOW)
    assert (record.threshold, record.rank, record.used, record.skipped) == (0.099, 99, 99, 2)
    assert record.bundle_id == bundle.id
    assert record.created == NOW.replace(microsecond=0)
    assert record.maybe_trained_on == 0
    assert record.images_digest == scored.images.digest
    assert record.preparation["input_px"] == (64, 64)
    quantiles = record.score_quantiles
    assert (quantiles["minimum"], quantiles["median"], quantiles["maximum"]) == (0.001, 0.05, 0.099)
    save_and_activate(tmp_path, record)
    assert load_active(tmp_path, bundle.id, "") == record


def test_images_of_the_training_are_noticed(tiny_line: Path) -> None:
    images = normals(20)
    bundle = load_bundle(tiny_line.parent / "bundle")
    manifest = bundle.manifest.model_copy(update={"data_digest": images.digest})
    scored = ScoredNormals(images, np.arange(20.0), "cpu", "float32")
    record = calibrate(load_line(tiny_line), replace(bundle, manifest=manifest), scored, 0.05, NOW)
    assert record.maybe_trained_on == 20


def test_too_few_images_are_counted_with_what_was_skipped() -> None:
    with pytest.raises(InputError) as caught:
        check_count(normals(50, skipped=7), 0.01)
    text = str(caught.value)
    assert "at least 99 images" in text
    assert "there are 50" in text
    assert "cannot be used: 7" in text
    assert "bad_0.png: not an image" in text
    assert "and 2 more" in text


def test_a_model_that_gives_no_numbers_is_not_calibrated(tiny_line: Path) -> None:
    scores = np.append(np.arange(98.0), np.nan)
    scored = ScoredNormals(normals(99), scores, "cpu", "float32")
    bundle = load_bundle(tiny_line.parent / "bundle")
    with pytest.raises(InputError, match="not finite"):
        calibrate(load_line(tiny_line), bundle, scored, 0.01, NOW)


def trained_on(tiny_line: Path, images: NormalImages, held_out: tuple[str, ...]) -> Bundle:
    bundle = load_bundle(tiny_line.parent / "bundle")
    changes = {"data_digest": images.digest, "held_out": held_out}
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def test_the_held_out_images_of_the_training_are_no_reason_to_warn(tiny_line: Path) -> None:
    bundle = trained_on(tiny_line, normals(20), ("3", "4"))
    unseen = unseen_images(bundle, normals(20))
    assert [part.name for part in unseen.parts] == ["3", "4"]
    assert maybe_trained_on(bundle, unseen) == 0
    above = trained_on(tiny_line, normals(20), ("good/3", "good/4"))
    assert [part.name for part in unseen_images(above, normals(20)).parts] == ["3", "4"]


@pytest.mark.parametrize(
    ("held_out", "names", "here"),
    [
        ("3 4", "1 3 4", "3 4"),
        ("good/3 good/4", "1 3 4", "3 4"),
        ("3 4", "good/1 good/3 good/4", "good/3 good/4"),
        ("train/good/a/3 train/good/b/4", "a/1 a/3 b/4", "a/3 b/4"),
        ("a/3 b/3", "a/3 b/3 c/a/3 c/b/3", "a/3 b/3"),  # as they are, where that explains them
        ("a/b/3 a/4", "3 b/3 4", "b/3 4"),  # not 3, which the training learnt
        ("good/3 good/4", "1 13 14", "good/3 good/4"),
    ],
)
def test_a_folder_given_at_another_level_has_the_same_images_held_out(
    held_out: str, names: str, here: str
) -> None:
    assert named_here(frozenset(held_out.split()), frozenset(names.split())) == {*here.split()}


def test_images_of_the_training_with_others_added_or_removed_are_noticed(tiny_line: Path) -> None:
    bundle = trained_on(tiny_line, normals(20), ("3", "4"))
    for count in (19, 21):
        images = unseen_images(bundle, normals(count))
        assert len(images.parts) == count
        assert maybe_trained_on(bundle, images) == count - 2
    assert maybe_trained_on(bundle, normals(3)) == 0, "no name that the training held out"


def test_copies_of_an_image_count_once() -> None:
    one = normals(1).parts[0]
    copies = tuple(one._replace(name=str(index)) for index in range(99))
    with pytest.raises(InputError, match=r"there are 1\. .*98 more are copies of these"):
        check_count(NormalImages(copies, (), "folder /images"), 0.01)
    check_count(NormalImages((*copies, *normals(99).parts), (), "folder /images"), 0.01)
