from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from full_disk import full_disk
from pipeline.errors import ConfigError, InputError, TrainingError
from stages.bundle import load_bundle
from stages.inspector import Inspector
from stages.model_profiles import PROFILES
from training import session
from training.checkpoint import load_checkpoint
from training.images import ImageSet
from training.session import train, work_folder
from training.settings import TrainingSettings


def settings(profile: str, **changes: object) -> TrainingSettings:
    plain = {"profile": profile, "steps": 3, "crop_px": 32, "device": "cpu"}
    return TrainingSettings.model_validate(plain | {"validation_images": 4} | changes)


def killed(_: session.Loop) -> bool:
    raise RuntimeError("killed")


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


@pytest.mark.parametrize("surface", [True, False])
def test_a_surface_model_goes_with_the_networks_where_it_is_wanted(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path, surface: bool
) -> None:
    bundle = train(good_parts, settings(tiny_profile, surface=surface), tmp_path / "bundle")

    assert (bundle.surface() is not None) == surface
    judged = (work_folder(bundle.folder) / "training.jsonl").read_text()
    figure = bundle.manifest.validation["image_auroc"]
    assert (f'"image_auroc": {figure}' in judged) == (not surface)


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


def test_a_profile_of_ones_own_and_no_time_for_the_unet(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    own = replace(PROFILES[tiny_profile], name="own", top_k=7)
    alone = settings("compact", reconstruction_share=0.0, joint_share=0.0)

    bundle = train(good_parts, alone, tmp_path / "bundle", profile=own)

    assert bundle.manifest.profile == own
    assert cv2.imread(str(work_folder(tmp_path / "bundle") / "curves.png")) is not None


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


def test_a_new_training_that_was_killed_at_once_cannot_be_resumed_from_the_one_before(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(good_parts, settings(tiny_profile), tmp_path / "bundle")
    monkeypatch.setattr(session.Loop, "run", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(good_parts, settings(tiny_profile), tmp_path / "bundle")

    with pytest.raises(InputError, match="without --resume"):
        train(good_parts, settings(tiny_profile), tmp_path / "bundle", resume=True)

    before = load_checkpoint(tmp_path / "bundle.training" / "checkpoint.pt.before")
    assert before["trainer"]["step"] == 3


def test_no_time_for_a_single_step_leaves_no_bundle(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"before the first step.*--minutes"):
        train(good_parts, settings(tiny_profile, steps=None, minutes=1e-9), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_work_folder_lies_beside_the_bundle_however_its_path_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    for spelling in ("new", "./new", "../here/new", "other/../new"):
        assert work_folder(Path(spelling)) == tmp_path / "here" / "new.training"


@pytest.mark.parametrize("folder", [".", "..", "../here", "/"])
def test_the_current_folder_is_no_place_for_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    with pytest.raises(ConfigError, match="current folder"):
        work_folder(Path(folder))


def test_a_resume_knows_the_textures_by_what_they_show(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    folder, moved = tmp_path / "textures", tmp_path / "moved"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.tile(np.uint8([0, 255]), (64, 32)))
    painted = settings(tiny_profile, steps=1, textures=str(folder))
    train(good_parts, painted, tmp_path / "bundle")

    folder.rename(moved)
    from_there = {"steps": 2, "textures": f"{moved}/../moved"}
    train(good_parts, settings(tiny_profile, **from_there), tmp_path / "bundle", resume=True)
    cv2.imwrite(str(moved / "b.png"), np.tile(np.uint8([[0], [255]]), (32, 64)))

    with pytest.raises(InputError, match=r"textures 1 with digest .*: textures 2 with digest"):
        train(good_parts, settings(tiny_profile, **from_there), tmp_path / "bundle", resume=True)


def test_resuming_without_a_checkpoint_is_an_input_error(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="without --resume"):
        train(good_parts, settings(tiny_profile), tmp_path / "bundle", resume=True)


def test_a_resume_with_another_profile_is_refused_and_leaves_the_bundle(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = train(good_parts, settings(tiny_profile, steps=1), tmp_path / "bundle")
    monkeypatch.setitem(PROFILES, "other", replace(PROFILES[tiny_profile], name="other"))

    with pytest.raises(
        InputError, match=r"another training: profile tiny; this one has: profile o"
    ):
        train(good_parts, settings("other", steps=2), tmp_path / "bundle", resume=True)

    assert load_bundle(tmp_path / "bundle").id == bundle.id


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"exposure": "evened"}, "exposure as_is; this one has: exposure evened"),
        ({"flip_vertical": True}, "flip_vertical False; this one has: flip_vertical True"),
        (
            {"kinds": ("scratch", "chip")},
            "kinds .*'dent'.*; this one has: kinds .'scratch', 'chip'",
        ),
        (
            {"seed": 1, "joint_share": 1.0},
            "seed 0, joint_share 0.36; this one has: seed 1, joint_s",
        ),
        ({"learning_rate": 1e-4}, "learning_rate 0.002; this one has: learning_rate 0.0001"),
    ],
)
def test_a_resume_with_other_options_is_refused_and_says_which(
    good_parts: ImageSet,
    tiny_profile: str,
    tmp_path: Path,
    changed: dict[str, object],
    message: str,
) -> None:
    before = {"exposure": "as_is", "surface": False}
    train(good_parts, settings(tiny_profile, steps=1, **before), tmp_path / "bundle")

    others = settings(tiny_profile, steps=2, **(before | changed))
    with pytest.raises(InputError, match=f"another training: {message}"):
        train(good_parts, others, tmp_path / "bundle", resume=True)


def test_a_resume_with_another_budget_and_other_periods_goes_on(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    train(good_parts, settings(tiny_profile, steps=1), tmp_path / "bundle")
    longer = settings(tiny_profile, steps=2, validation_minutes=1, checkpoint_minutes=1)

    bundle = train(good_parts, longer, tmp_path / "bundle", resume=True)

    assert bundle.manifest.validation["step"] == 2


def test_the_schedule_that_is_asked_for_is_the_bundles(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    wanted = settings(tiny_profile, steps=1, noise_schedule="linear", beta_end=0.03)

    bundle = train(good_parts, wanted, tmp_path / "bundle")

    own = PROFILES[tiny_profile]
    diffusion = load_bundle(bundle.folder).manifest.profile.diffusion
    assert diffusion == replace(own.diffusion, beta_end=0.03) != own.diffusion


def test_a_resume_with_other_images_is_refused(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path
) -> None:
    train(good_parts, settings(tiny_profile, steps=1), tmp_path / "bundle")
    fewer = session.split(good_parts, 0.5, 0)[0]

    with pytest.raises(InputError, match="another training"):
        train(fewer, settings(tiny_profile, steps=2), tmp_path / "bundle", resume=True)


def test_the_same_steps_give_the_same_weights(
    good_parts: ImageSet, tiny_profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.STEPS_BETWEEN", 2)  # the best of several is shipped
    shares = {"reconstruction_share": 0.3, "joint_share": 0.6, "pool_images": 8}
    runs = [(tmp_path / "a", 0), (tmp_path / "b", 0), (tmp_path / "c", 1)]

    bundles = [
        train(good_parts, settings(tiny_profile, steps=8, seed=seed, **shares), folder)
        for folder, seed in runs
    ]

    weights = [(folder / "weights.safetensors").read_bytes() for folder, _ in runs]
    assert weights[0] == weights[1] != weights[2]
    assert bundles[0].manifest.validation == bundles[1].manifest.validation


def test_a_disk_too_full_for_a_checkpoint_leaves_the_last_one_and_the_bundle(
    good_parts: ImageSet,
    tiny_profile: str,
    tmp_path: Path,
) -> None:
    out, checkpoint = tmp_path / "bundle", tmp_path / "bundle.training" / "checkpoint.pt"
    old = train(good_parts, settings(tiny_profile, steps=1), out)
    often = settings(tiny_profile, steps=3, checkpoint_minutes=1e-9)

    with (
        full_disk(20_000),
        pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be written .*room.*--resume"),
    ):
        train(good_parts, often, out, resume=True)

    assert load_checkpoint(checkpoint)["trainer"]["step"] == 1
    assert load_bundle(out).id == old.id
    train(good_parts, often, out, resume=True)
    assert load_checkpoint(checkpoint)["trainer"]["step"] == 3


def test_a_disk_too_full_for_the_bundle_leaves_the_old_one_and_the_training(
    good_parts: ImageSet,
    tiny_profile: str,
    tmp_path: Path,
) -> None:
    out = tmp_path / "bundle"
    plain = settings(tiny_profile, steps=2, surface=False)
    old = train(good_parts, plain, out)

    with (
        full_disk(20_000),
        pytest.raises(TrainingError, match=r"bundle cannot be written .*room.*--resume"),
    ):
        train(good_parts, plain, out, resume=True)

    assert load_bundle(out).id == old.id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.training"]
    again = train(good_parts, plain, out, resume=True)
    assert again.weights == old.weights
