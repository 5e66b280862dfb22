from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError, TrainingError
from stages.bundle import load_bundle
from stages.inspector import Inspector
from training import session
from training.images import ImageSet
from training.session import train, work_folder
from training.settings import TrainingSettings


def settings(profile: str, **changes: object) -> TrainingSettings:
    plain = {"profile": profile, "steps": 3, "crop_px": 32, "device": "cpu"}
    return TrainingSettings.model_validate(plain | {"validation_images": 4} | changes)


def test_a_training_leaves_a_bundle_that_inspects(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"

    bundle = train(good_parts, settings(tiny_profile), out, {"colour": "grey", "crop": [1, 2]})

    loaded = load_bundle(out)
    assert loaded.id == bundle.id
    manifest = loaded.manifest
    assert manifest.data_digest == good_parts.digest
    assert manifest.image_size_px == (64, 64)
    assert manifest.preprocessing == {"colour": "grey", "crop": [1, 2]}
    assert {"image_auroc", "image_ap", "pixel_ap", "step"} <= set(manifest.validation)
    scores = Inspector(loaded, "cpu").inspect(good_parts.images[:2]).scores
    assert np.isfinite(scores).all()


def test_pictures_and_log_lie_beside_the_bundle(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    train(good_parts, settings(tiny_profile), out)

    assert {f.name for f in out.iterdir()} == {"bundle.yaml", "weights.safetensors"}
    folder = work_folder(out)
    preview = cv2.imread(str(folder / "preview.png"))
    assert preview.shape == (8 * 64 + 7 * 4, 4 * 64 + 3 * 4, 3)
    assert cv2.imread(str(folder / "curves.png")) is not None
    assert (folder / "training.jsonl").read_text().count("image_auroc") == 1


def test_an_interrupted_training_says_how_to_go_on_and_keeps_the_old_bundle(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    old = train(good_parts, settings(tiny_profile, steps=1), out)
    original = session.Loop.run

    def interrupted(loop: session.Loop) -> bool:
        loop.stop()
        return original(loop)

    monkeypatch.setattr(session.Loop, "run", interrupted)
    with pytest.raises(TrainingError, match=r"step 0.*--resume"):
        train(good_parts, settings(tiny_profile), out)
    assert load_bundle(out).id == old.id

    monkeypatch.setattr(session.Loop, "run", original)
    resumed = train(good_parts, settings(tiny_profile), out, resume=True)
    assert resumed.manifest.validation["step"] == 3


def test_resuming_without_a_checkpoint_is_an_input_error(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="without --resume"):
        train(good_parts, settings(tiny_profile), tmp_path / "bundle", resume=True)


def test_a_resume_with_other_images_is_refused(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    train(good_parts, settings(tiny_profile, steps=1), tmp_path / "bundle")
    fewer = session.split(good_parts, 0.5, 0)[0]

    with pytest.raises(InputError, match="another training"):
        train(fewer, settings(tiny_profile, steps=2), tmp_path / "bundle", resume=True)
