import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save

from pipeline.errors import BundleError, ConfigError
from stages.bundle import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleManifest,
    check_place,
    load_bundle,
    save_bundle,
)
from stages.model_profiles import ModelProfile, build_networks
from stages.segmentation.surface import SurfaceModel

MakeBundle = Callable[..., Bundle]
MEND = "train_line --line N"


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    entries = yaml.safe_load((folder / MANIFEST_FILE).read_text())
    change(entries)
    (folder / MANIFEST_FILE).write_text(yaml.safe_dump(entries))


def test_round_trip(make_bundle: MakeBundle) -> None:
    saved = make_bundle()
    loaded = load_bundle(saved.folder)
    assert loaded == saved
    for before, after in zip(saved.networks(), loaded.networks(), strict=True):
        assert not after.training
        for key, tensor in after.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, before.state_dict()[key])


def test_a_surface_model_goes_with_the_networks(make_bundle: MakeBundle) -> None:
    plain = make_bundle()
    manifest = plain.manifest
    surface = SurfaceModel(manifest.channels, manifest.image_size_px, components=5)
    cells = surface.sizes[1]
    cells.mean.copy_(torch.arange(cells.mean.numel()).reshape(cells.mean.shape))
    cells.components[4, 0] = 1.0
    cells.offset.fill_(-2.5)

    saved = save_bundle(plain.folder, manifest, *plain.networks(), surface)

    found = load_bundle(saved.folder).surface()
    assert plain.surface() is None
    assert saved.id != plain.id
    assert saved.manifest.surface
    assert saved.manifest.surface_components == 5
    assert found is not None
    assert all(map(torch.equal, found.buffers(), surface.buffers()))
    again = save_bundle(plain.folder, saved.manifest, *saved.networks())
    assert not again.manifest.surface
    assert again.id == plain.id


def test_weights_are_stored_as_the_manifest_says(make_bundle: MakeBundle) -> None:
    half = load_file(make_bundle().folder / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert {key.partition(".")[0] for key in half} == {"unet", "segmentation"}
    full = load_file(make_bundle(weights_dtype="float32").folder / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in full.values()} == {torch.float32}
    assert all(torch.equal(full[key].half(), half[key]) for key in half)


def test_the_id_is_the_hash_of_manifest_and_weights(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    entries = yaml.safe_load((bundle.folder / MANIFEST_FILE).read_text())
    assert entries.pop("id") == bundle.id
    canonical = json.dumps(entries, sort_keys=True).encode()
    digest = hashlib.sha256(canonical + (bundle.folder / WEIGHTS_FILE).read_bytes())
    assert bundle.id == digest.hexdigest()[:16]
    assert make_bundle().id == bundle.id
    assert make_bundle(seed=1).id != bundle.id
    assert make_bundle(noise_seed=12).id != bundle.id


def test_batch_norm_counters_survive(make_bundle: MakeBundle, tiny: ModelProfile) -> None:
    as_published = ModelProfile(
        name="published",
        unet=tiny.unet,
        segmentation=type(tiny.segmentation)(
            widths=(8, 16), unshuffle=1, groups=0, difference=False
        ),
    )
    _, segmentation = load_bundle(make_bundle(as_published).folder).networks()
    counters = [t for key, t in segmentation.state_dict().items() if key.endswith("tracked")]
    assert counters
    assert all(counter.dtype == torch.int64 for counter in counters)


@pytest.mark.parametrize("place", [0.02, 0.5, 0.999])
def test_a_changed_byte_of_the_weights_is_refused(make_bundle: MakeBundle, place: float) -> None:
    file = make_bundle().folder / WEIGHTS_FILE
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=f"was changed.*{MEND}"):
        load_bundle(file.parent)


def test_a_changed_figure_of_the_manifest_is_refused(make_bundle: MakeBundle) -> None:
    folder = make_bundle().folder
    edit_manifest(folder, lambda entries: entries["validation"].update(image_auroc=0.99))
    with pytest.raises(BundleError, match="was changed"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, MANIFEST_FILE])
def test_a_missing_file_is_refused(make_bundle: MakeBundle, name: str) -> None:
    folder = make_bundle().folder
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.*{MEND}"):
        load_bundle(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"no model bundle.*{MEND}"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda entries: entries.update(format_version=2), "format version 2"),
        (lambda entries: entries.pop("format_version"), "format version None"),
        (lambda entries: entries.update(colour="red"), "colour"),
        (lambda entries: entries["profile"]["unet"].update(depth=3), r"profile\.unet\.depth"),
        (lambda entries: entries.pop("noise_seed"), "noise_seed"),
        (lambda entries: entries.pop("id"), "not the manifest"),
        (lambda entries: entries.update(image_size_px=[64, 33]), "multiples of 4"),
    ],
)
def test_a_foreign_manifest_is_refused(
    make_bundle: MakeBundle, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    folder = make_bundle().folder
    edit_manifest(folder, change)
    with pytest.raises(BundleError, match=text):
        load_bundle(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [", b"- 1\n", b""])
def test_a_manifest_that_is_none_is_refused(make_bundle: MakeBundle, content: bytes) -> None:
    folder = make_bundle().folder
    (folder / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=MANIFEST_FILE):
        load_bundle(folder)


def with_right_id(folder: Path, weights: bytes) -> None:
    """Puts other weights into a bundle and seals it again."""
    (folder / WEIGHTS_FILE).write_bytes(weights)
    entries = yaml.safe_load((folder / MANIFEST_FILE).read_text())
    del entries["id"]
    canonical = json.dumps(entries, sort_keys=True).encode()
    new_id = hashlib.sha256(canonical + weights).hexdigest()[:16]
    edit_manifest(folder, lambda entries: entries.update(id=new_id))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("unet.stem.bias"), r"unet\.stem\.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is not part"),
        (lambda t: t.update({"unet.stem.bias": torch.zeros(9)}), r"\(9,\), not \(8,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    make_bundle: MakeBundle, change: Callable[[dict[str, torch.Tensor]], object], text: str
) -> None:
    folder = make_bundle().folder
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    with_right_id(folder, save(tensors))
    with pytest.raises(BundleError, match=f"do not fit.*{text}"):
        load_bundle(folder)


def test_sealed_rubbish_is_refused(make_bundle: MakeBundle) -> None:
    folder = make_bundle().folder
    with_right_id(folder, b"rubbish")
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(folder)


def test_a_new_bundle_takes_the_place_of_the_old(make_bundle: MakeBundle) -> None:
    old, new = make_bundle(), make_bundle(seed=1)
    assert load_bundle(old.folder).id == new.id != old.id
    assert [path.name for path in old.folder.parent.iterdir()] == ["bundle"]


def test_the_old_bundle_stays_when_the_disk_fails(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_bundle()

    def disk_full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", disk_full)
        with pytest.raises(OSError, match="No space"):
            make_bundle(seed=1)
    assert load_bundle(old.folder) == old
    assert [path.name for path in old.folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("value", [float("nan"), 1e6])  # 1e6 overflows float16
def test_weights_that_are_not_finite_are_never_saved(make_bundle: MakeBundle, value: float) -> None:
    old = make_bundle()
    unet, segmentation = old.networks()
    torch.nn.init.constant_(unet.stem.bias, value)
    with pytest.raises(BundleError, match=r"unet\.stem\.bias is not finite"):
        save_bundle(old.folder, old.manifest, unet, segmentation)
    assert load_bundle(old.folder) == old


def test_networks_of_another_profile_are_never_saved(make_bundle: MakeBundle) -> None:
    old = make_bundle()
    unet, segmentation = build_networks(old.manifest.profile, channels=1)
    with pytest.raises(BundleError, match="do not fit"):
        save_bundle(old.folder, old.manifest, unet, segmentation)
    assert load_bundle(old.folder) == old


def test_a_manifest_is_strict_and_frozen(make_manifest: Callable[..., BundleManifest]) -> None:
    with pytest.raises(ValidationError, match="colour"):
        make_manifest(colour="red")
    with pytest.raises(ValidationError, match="finite"):
        make_manifest(validation={"image_auroc": float("nan")})
    with pytest.raises(ValidationError, match="frozen"):
        make_manifest().noise_seed = 3


def test_a_folder_that_holds_anything_else_is_not_replaced(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    bundle = make_bundle()
    networks = bundle.networks()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("precious")
    (tmp_path / "file").write_text("precious, too")
    for name, told in (("mine", "keep.txt for instance"), ("file", "is a file")):
        with pytest.raises(ConfigError, match=told):
            check_place(tmp_path / name)
        with pytest.raises(ConfigError, match=told):
            save_bundle(tmp_path / name, bundle.manifest, *networks)
    assert (tmp_path / "mine" / "keep.txt").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "precious, too"
    for free in (bundle.folder, tmp_path / "new"):
        check_place(free)
