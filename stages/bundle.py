"""The model bundle: weights and everything that made them, in one folder, under one id.

    FOLDER/weights.safetensors   both networks, keys `unet.*` and `segmentation.*`, and the surface
                                 model, keys `surface.*`, if there is one
    FOLDER/bundle.yaml           the manifest, and the id: a hash over manifest and weights

A bundle that is incomplete, changed or of an unknown version is refused, never repaired.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import torch
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from pipeline.errors import BundleError, ConfigError
from stages.bundle_identity import DEFAULT_PARADIGM
from stages.model_profiles import ModelProfile, build_networks
from stages.reconstruction.unet import UNet
from stages.segmentation.network import SegmentationNetwork
from stages.segmentation.surface import SurfaceModel

FORMAT_VERSION: Final = 1
WEIGHTS_FILE = "weights.safetensors"
MANIFEST_FILE = "bundle.yaml"
MEND = "train a new one with `train_line --line N`, or restore the folder from its backup"

Scalar = bool | int | FiniteFloat | str | None


class BundleManifest(BaseModel):
    """What made a bundle, and how it wants to be run.

    `preprocessing` belongs to the preprocessing stage and `training` to the training; both are
    opaque here. `data_digest` identifies the images, and `held_out` names those of them that the
    weights never saw. `exposure_level` is the median grey level to which the networks' inputs are
    brought, None where they stay as they are (`stages.exposure`). `surface`: whether a surface
    model belongs to it, and `surface_components` how many components it takes away at most
    (`stages.segmentation.surface`). `created` is UTC in ISO 8601; `versions` name PyTorch and
    project.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    profile: ModelProfile
    channels: Literal[1, 3]
    image_size_px: tuple[PositiveInt, PositiveInt]  # height, width
    noise_seed: NonNegativeInt
    paradigm: str = DEFAULT_PARADIGM
    weights_dtype: Literal["float16", "float32"] = "float16"
    exposure_level: Annotated[float, Field(gt=0, le=255)] | None = None
    surface: bool = False
    surface_components: NonNegativeInt = 0
    preprocessing: dict[str, Scalar | list[Scalar]] = {}
    training: dict[str, Scalar | list[Scalar]] = {}
    data_digest: str
    held_out: tuple[str, ...] = ()
    versions: dict[str, str]
    validation: dict[str, FiniteFloat] = {}
    created: str

    @model_validator(mode="after")
    def _size_fits_profile(self) -> Self:
        step = self.profile.multiple_of_px
        if any(side % step for side in self.image_size_px):
            raise ValueError(
                f"image_size_px {self.image_size_px} must be multiples of {step} for the profile "
                f"{self.profile.name!r}"
            )
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; `id` is 16 hexadecimal digits and changes with every byte of it."""

    id: str
    manifest: BundleManifest
    folder: Path
    weights: bytes = field(repr=False)

    def networks(self) -> tuple[UNet, SegmentationNetwork]:
        """Both networks in float32 and evaluation mode, on the CPU.

        Raises BundleError where the weights do not fit the sizes that the manifest names.
        """
        unet, segmentation, _ = self._models()
        return unet, segmentation

    def surface(self) -> SurfaceModel | None:
        """What the manifest says belongs to the networks, or None; on the CPU, as `networks`."""
        return self._models()[2]

    def _models(self) -> tuple[UNet, SegmentationNetwork, SurfaceModel | None]:
        manifest = self.manifest
        with torch.device("meta"):  # sizes only: the weights come from the file
            unet, segmentation = build_networks(manifest.profile, manifest.channels)
            surface = _surface(manifest)
        both = _together(unet, segmentation, surface)
        tensors = _read_tensors(self.weights, self.folder)
        fault = _first_misfit(both.state_dict(), tensors)
        if fault:
            raise BundleError(
                f"the weights in {self.folder} do not fit their profile "
                f"{manifest.profile.name!r}: {fault}"
            )
        both.load_state_dict(tensors, assign=True)
        both.eval()
        return unet, segmentation, surface


def check_place(folder: Path) -> None:
    """Raises ConfigError where a bundle that is saved in `folder` would replace anything else."""
    if folder.is_dir():
        others = sorted({item.name for item in folder.iterdir()} - {MANIFEST_FILE, WEIGHTS_FILE})
        if others:
            raise ConfigError(
                f"{folder} holds more than a model bundle, {others[0]} for instance, and all of it "
                "would be replaced; give a new folder, or move what is in this one"
            )
    elif folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} is a file; a model bundle is a folder, give a new one")


def save_bundle(
    folder: Path,
    manifest: BundleManifest,
    unet: UNet,
    segmentation: SegmentationNetwork,
    surface: SurfaceModel | None = None,
) -> Bundle:
    """Writes a bundle and returns it; one that is already there stays until this is complete.
    `surface` goes with the networks, whatever the manifest says of one.

    The weights are rounded to `manifest.weights_dtype`: score with the bundle, not with the
    networks that were given. Raises BundleError where a weight is not finite after rounding, or the
    networks are not of the manifest's profile, and ConfigError where something else is in `folder`.
    """
    check_place(folder)
    components = 0 if surface is None else surface.components
    form = {"surface": surface is not None, "surface_components": components}
    manifest = manifest.model_copy(update=form)
    models = _together(unet, segmentation, surface)
    weights = save_tensors(_rounded(models, manifest.weights_dtype))
    entries = manifest.model_dump(mode="json")
    bundle = Bundle(_content_id(entries, weights), manifest, folder, weights)
    bundle.networks()
    text = yaml.safe_dump({"id": bundle.id, **entries}, sort_keys=False, allow_unicode=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        unfinished.chmod(0o755)
        _write_durably(unfinished / WEIGHTS_FILE, weights)
        _write_durably(unfinished / MANIFEST_FILE, text.encode())
        _sync_folder(unfinished)
        _replace_folder(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return bundle


def load_bundle(folder: Path, mend: str = MEND) -> Bundle:
    """Reads and verifies a bundle.

    Raises BundleError, ending in `mend`, where it is missing, incomplete, changed, of an unknown
    version, or where its weights do not fit its profile.
    """
    try:
        return _verified(folder)
    except BundleError as error:
        raise BundleError(f"{error}; {mend}") from error


def _verified(folder: Path) -> Bundle:
    if not folder.is_dir():
        raise BundleError(f"there is no model bundle at {folder}")
    weights, text = _read(folder / WEIGHTS_FILE), _read(folder / MANIFEST_FILE)
    stated_id, entries = _parse_manifest(text, folder)
    manifest = _checked_manifest(entries, folder)
    found_id = _content_id(entries, weights)
    if stated_id != found_id:
        raise BundleError(
            f"the model bundle {folder} was changed since it was made: its id is {stated_id}, its "
            f"content is {found_id}"
        )
    bundle = Bundle(found_id, manifest, folder, weights)
    bundle.networks()
    return bundle


def _surface(manifest: BundleManifest) -> SurfaceModel | None:
    """A fresh one of the manifest's sizes, if it says that there is one."""
    if not manifest.surface:
        return None
    return SurfaceModel(manifest.channels, manifest.image_size_px, manifest.surface_components)


def _together(
    unet: UNet, segmentation: SegmentationNetwork, surface: SurfaceModel | None
) -> nn.ModuleDict:
    models: dict[str, nn.Module] = {"unet": unet, "segmentation": segmentation}
    return nn.ModuleDict(models if surface is None else {**models, "surface": surface})


def _rounded(networks: nn.Module, dtype_name: str) -> dict[str, Tensor]:
    """The state on the CPU, floating point tensors as `dtype_name`, others as they are."""
    dtype = torch.float16 if dtype_name == "float16" else torch.float32
    rounded = {}
    for key, tensor in networks.state_dict().items():
        on_cpu = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype)
        if not bool(on_cpu.isfinite().all()):
            raise BundleError(
                f"{key} is not finite as {dtype_name}: train again with a lower learning rate, or "
                f"keep the weights in float32"
            )
        rounded[key] = on_cpu.contiguous()
    return rounded


def _content_id(entries: Mapping[str, Any], weights: bytes) -> str:
    """Hash over the manifest as it is written, so that keys of later versions change nothing."""
    canonical = json.dumps(entries, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode() + weights).hexdigest()[:16]


def _parse_manifest(text: bytes, folder: Path) -> tuple[str, dict[str, Any]]:
    """The id that a manifest states, and its other entries, not yet checked."""
    where = folder / MANIFEST_FILE
    try:
        entries: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{where} is not YAML ({error})") from error
    if not isinstance(entries, dict) or not isinstance(entries.get("id"), str):
        raise BundleError(f"{where} is not the manifest of a model bundle")
    if entries.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"{where} has format version {entries.get('format_version')!r}, this program reads "
            f"{FORMAT_VERSION}: use the program that it was made with"
        )
    return entries.pop("id"), entries


def _checked_manifest(entries: Mapping[str, Any], folder: Path) -> BundleManifest:
    where = folder / MANIFEST_FILE
    try:
        return BundleManifest.model_validate(entries)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise BundleError(f"{where} is not valid: {faults}") from error


def _read_tensors(weights: bytes, folder: Path) -> dict[str, Tensor]:
    """All tensors, floating point ones as float32."""
    try:
        tensors = load_tensors(weights)
    except SafetensorError as error:
        raise BundleError(f"{folder / WEIGHTS_FILE} is damaged ({error})") from error
    return {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }


def _first_misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            return f"{key} is missing"
        if key not in expected:
            return f"{key} is not part of these networks"
        if expected[key].shape != found[key].shape:
            return f"{key} is {tuple(found[key].shape)}, not {tuple(expected[key].shape)}"
    return None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(
            f"the model bundle is incomplete: {file} cannot be read ({error.strerror})"
        ) from error


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _replace_folder(new: Path, folder: Path) -> None:
    """Renames `new` to `folder`; what was there is moved aside, and back if that fails."""
    aside = new.with_name(f"{new.name}.before")
    had_one = folder.exists()
    if had_one:
        folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        if had_one:
            aside.rename(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
