"""One YAML file is one line. This module says what may stand in it.

Every section is a small strict model: unknown keys, wrong types and values out of range are
errors, physical facts have no default, and a loaded configuration cannot be changed. Relative
paths are relative to the file that names them. `load_line` reports all mistakes at once.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, StringConstraints, model_validator

from pipeline.config_base import ConfigPath, Section, resolve_address
from pipeline.config_mqtt import EmbeddedBroker, ExternalBroker, Mqtt, Sparkplug, Tls
from pipeline.config_operation import Logging, RejectLog, Supervision
from pipeline.config_stages import Device, Stages, Workers
from pipeline.errors import ConfigError

__all__ = [  # the sections that other packages take from here
    "Batch",
    "EmbeddedBroker",
    "ExternalBroker",
    "FolderCamera",
    "Frame",
    "LineConfig",
    "Mqtt",
    "ParadigmName",
    "Recipe",
    "Reconstruction",
    "Region",
    "Section",
    "SimulatedCamera",
    "Sparkplug",
    "StreamCamera",
    "Supervision",
    "Timing",
    "Tls",
    "Workers",
]

DEFAULT_RECIPE = "default"
"""The recipe that `model.bundle` and `calibration.folder` make."""
PixelSize = tuple[Annotated[int, Field(ge=16, le=20_000)], Annotated[int, Field(ge=16, le=20_000)]]
NetworkSize = tuple[
    Annotated[int, Field(ge=64, le=2048, multiple_of=32)],
    Annotated[int, Field(ge=64, le=2048, multiple_of=32)],
]


class SimulatedCamera(Section):
    """Renders parts of a product, with defects of known place and kind."""

    kind: Literal["simulated"]
    """Renders a product; for commissioning, training of operators and demonstration."""
    product: str
    """Product to render: one of the simulator's products, for instance brushed_metal."""
    size_px: PixelSize
    """Height and width of the rendered frame, in pixels."""
    seed: Annotated[int, Field(ge=0, le=2**31)]
    """Seed of the parts: the same seed gives the same parts."""
    defect_share: Annotated[float, Field(ge=0, le=1)]
    """Share of the parts that get a defect."""
    rate_hz: Annotated[float, Field(gt=0, le=10_000)] | None
    """Parts per second; null means as fast as the line takes them."""
    parts: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many parts; null runs until stopped."""

    @property
    def simulated(self) -> bool:
        """True: the verdicts of this camera are marked as simulated."""
        return True


class FolderCamera(Section):
    """Takes image files from a folder, in the order of their names."""

    kind: Literal["folder"]
    """Image files of a folder; `--images DIR` sets this kind and the folder."""
    folder: ConfigPath
    """Folder with image files (png, jpg, jpeg, bmp, tif, tiff), searched with its subfolders."""
    rate_hz: Annotated[float, Field(gt=0, le=10_000)] | None
    """Parts per second; null means as fast as the line takes them."""
    repeat: bool = False
    """Start again at the first file after the last one."""
    parts: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many parts; null runs to the end of the folder."""

    @property
    def simulated(self) -> bool:
        """True: a folder is a replay, no part passes the camera now."""
        return True


class StreamCamera(Section):
    """Reads a network stream, a video file or a USB camera through OpenCV, and reconnects."""

    kind: Literal["stream"]
    """Whatever OpenCV can open."""
    url: Annotated[str, StringConstraints(min_length=1), AfterValidator(resolve_address)]
    """Address that OpenCV opens: rtsp://..., http://..., a video file, or /dev/video0."""
    open_timeout_ms: Annotated[int, Field(ge=100, le=60_000)]
    """Time allowed for opening the stream."""
    read_timeout_ms: Annotated[int, Field(ge=50, le=60_000)]
    """Time without a frame after which the stream counts as lost and is opened again."""
    reconnect_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    """Longest pause between two attempts to reconnect; attempts start at a tenth of it."""
    trigger: Literal["every_frame"]
    """What makes a part: every_frame takes each frame of the stream for one part."""
    parts: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many parts; null runs until stopped."""

    @property
    def rate_hz(self) -> None:
        """The camera sets the rate, not the configuration."""
        return None

    @property
    def simulated(self) -> bool:
        """False: real parts pass."""
        return False


class Region(Section):
    """Region of interest within the camera's frame, in pixels."""

    x: Annotated[int, Field(ge=0)]
    """First column, counted from 0 at the left."""
    y: Annotated[int, Field(ge=0)]
    """First row, counted from 0 at the top."""
    width: Annotated[int, Field(ge=16)]
    """Columns of the region."""
    height: Annotated[int, Field(ge=16)]
    """Rows of the region."""


class Frame(Section):
    """What a frame must look like, and how it becomes the networks' input."""

    colour: Literal["grey", "rgb"]
    """Channels of the networks' input; colour frames on a grey line are converted to grey."""
    bit_depth: Annotated[int, Field(ge=8, le=16)]
    """Significant bits per sample of the camera: 8, or 10 to 16 in 16-bit samples."""
    size_px: PixelSize | Literal["any"]
    """Height and width that every frame must have; any accepts images of all sizes."""
    region: Region | None = None
    """Region of interest, inside the frame; null takes the whole frame."""
    input_px: NetworkSize
    """Height and width that the networks see; multiples of 32."""
    max_megapixels: Annotated[float, Field(gt=0, le=400)] = 30.0
    """A frame with more pixels is refused before it is decoded."""
    black_below: Annotated[float, Field(ge=0, le=255)] = 4.0
    """A frame whose 99th percentile lies below this grey level (0 to 255) counts as black."""
    saturated_above: Annotated[float, Field(gt=0, le=1)] = 0.9
    """A frame with more than this share of its pixels at full scale counts as saturated."""

    @model_validator(mode="after")
    def _region_lies_inside(self) -> Frame:
        if self.region is not None and self.size_px != "any":
            height, width = self.size_px
            if (
                self.region.x + self.region.width > width
                or self.region.y + self.region.height > height
            ):
                raise ValueError(f"region must lie inside the frame of {width} x {height} pixels")
        return self


class Model(Section):
    """The networks of the line."""

    bundle: ConfigPath
    """Folder of the model bundle, made by train_line."""
    device: Device = "auto"
    """Where the networks run: auto, cpu, cuda:0 and so on, or openvino, on the CPU by OpenVINO."""


ParadigmName = Literal["one_step", "norm_guided", "ddim", "iterative"]


class Reconstruction(Section):
    """How the part without its defects is found."""

    paradigm: ParadigmName | None = None
    """Way of denoising; null takes the model bundle's own. Calibrate again after a change."""

    ddim_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Passes of the network, with paradigm ddim; null takes the bundle's. Calibrate again, too."""
    ddim_eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """Fresh noise at each of them, 0 for none, with paradigm ddim; null takes the bundle's."""

    @property
    def ddim(self) -> dict[str, int | float]:
        """What of DDIM is other than the bundle has it, by the key."""
        given = {"ddim_steps": self.ddim_steps, "ddim_eta": self.ddim_eta}
        return {key: value for key, value in given.items() if value is not None}

    def other_than(self, bundles_own: str) -> str | None:
        """The line's paradigm, with what of it is changed, where it is not the bundle's own as it
        is; None where it is.
        """
        if self.ddim:
            return f"{self.paradigm} with {', '.join(f'{k} {v}' for k, v in self.ddim.items())}"
        return None if self.paradigm == bundles_own else self.paradigm

    @model_validator(mode="after")
    def _ddim_goes_with_its_paradigm(self) -> Reconstruction:
        if self.ddim and self.paradigm != "ddim":
            raise ValueError(f"{' and '.join(self.ddim)} only with paradigm: ddim")
        return self


class Calibration(Section):
    """The threshold of the line."""

    folder: ConfigPath
    """Folder of the line's calibrations, made by calibrate_line; one of them is active."""


class Recipe(Section):
    """What one product needs, for select_recipe; beside it the rest of the file holds."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name by which the PLC selects it; `default` is what model and calibration say."""
    bundle: ConfigPath
    """Folder of the product's model bundle, made by train_line --set recipe=NAME."""
    calibration: ConfigPath
    """Folder of its calibrations, made by calibrate_line --set recipe=NAME."""


class Timing(Section):
    """When the verdict must be there."""

    deadline_ms: Annotated[int, Field(ge=10, le=600_000)]
    """Time from capture to the latest useful verdict: the part reaches the gate soon after."""
    margin_ms: Annotated[int, Field(ge=0, le=60_000)] = 20
    """A part still open this long before its deadline is UNINSPECTED; less than deadline_ms."""
    reject_distance_mm: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Belt from camera to gate; with set_encoder the deadline follows from it, if it is sooner."""
    mm_per_pulse: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Belt per unit of the PLC's encoder: 1 where it sends millimetres, else that of a pulse."""

    @model_validator(mode="after")
    def _margin_leaves_time(self) -> Timing:
        if self.margin_ms >= self.deadline_ms:
            raise ValueError("margin_ms must be smaller than deadline_ms")
        return self


class Batch(Section):
    """How parts are put together for the networks."""

    size: Annotated[int, Field(ge=1, le=256)] = 8
    """Most parts in one batch."""
    max_wait_ms: Annotated[int, Field(ge=0, le=10_000)] = 30
    """Longest time that the first part of a batch waits for company; less near a deadline."""


class LineConfig(Section):
    """The complete configuration of one line."""

    line: Annotated[int, Field(ge=1, le=9999)]
    """Number of the line: names its sockets, parts and topics."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """Name that people give the line."""
    data_folder: ConfigPath
    """Folder of the line's ledger, reject log and log files, and of no other line's."""
    run_folder: ConfigPath | None = None
    """Folder of sockets and lock, at most 67 bytes; null chooses one private to the user."""
    camera: SimulatedCamera | FolderCamera | StreamCamera = Field(discriminator="kind")
    """Where the parts' frames come from."""
    frame: Frame
    model: Model
    reconstruction: Reconstruction = Reconstruction()
    calibration: Calibration
    recipe: str = DEFAULT_RECIPE
    """Recipe to begin with; `--set recipe=NAME` trains and calibrates one, too."""
    recipes: tuple[Recipe, ...] = ()
    """Further products, each with a model bundle and calibrations of its own."""
    timing: Timing
    batch: Batch = Batch()
    stages: Stages = Stages()
    mqtt: Mqtt
    reject_log: RejectLog = RejectLog()
    supervision: Supervision = Supervision()
    logging: Logging = Logging()

    _asked_for: tuple[str, str] = PrivateAttr(("", ""))

    @property
    def asked_for(self) -> str:
        """The options by which a command named this line, as a shell reads them: what another
        command must be given to be about the same. Empty where no command asked for it.
        """
        options, recipe = self._asked_for
        changed = bool(options) and recipe != self.recipe
        return f"{options} --set recipe={self.recipe}" if changed else options

    def asked_for_by(self, options: str) -> LineConfig:
        """The same line, asked for by these options."""
        asked = self.model_copy()
        asked._asked_for = (options, self.recipe)
        return asked

    @property
    def run_dir(self) -> Path:
        """The run folder, or the one of this user and line in the system's run-time folder."""
        if self.run_folder is not None:
            return self.run_folder
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"inspection-line-{os.getuid()}" / f"line_{self.line}"

    @property
    def log_folder(self) -> Path:
        """Folder of the log files."""
        return self.data_folder / "log"

    @property
    def ledger_folder(self) -> Path:
        """Folder of the ledger's journal."""
        return self.data_folder / "ledger"

    @property
    def devices(self) -> tuple[str, ...]:
        """What the networks run on, each device once, as it is named here."""
        sections = (self.stages.reconstruction, self.stages.segmentation)
        lists = [section.devices or (self.model.device,) for section in sections]
        return tuple(dict.fromkeys(device for devices in lists for device in devices))

    def with_recipe(self, name: str) -> LineConfig:
        """The line set up for a recipe; the one it had stays listed. Raises ConfigError."""
        recipes = self.recipes
        if all(recipe.name != DEFAULT_RECIPE for recipe in recipes):
            own = Recipe(
                name=DEFAULT_RECIPE, bundle=self.model.bundle, calibration=self.calibration.folder
            )
            recipes = (own, *recipes)
        for recipe in recipes:
            if recipe.name == name:
                model = self.model.model_copy(update={"bundle": recipe.bundle})
                calibration = Calibration(folder=recipe.calibration)
                changes = {"model": model, "calibration": calibration}
                return self.model_copy(update={"recipe": name, "recipes": recipes, **changes})
        known = ", ".join(recipe.name for recipe in recipes)
        raise ConfigError(f"recipe: no recipe {name!r}; the line has {known}")

    @model_validator(mode="after")
    def _recipes_are_told_apart(self) -> LineConfig:
        names = [recipe.name for recipe in self.recipes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"recipes: {', '.join(twice)} stands there twice")
        if self.recipe not in (DEFAULT_RECIPE, *names):
            raise ValueError(f"recipe {self.recipe!r} is not in the list of recipes")
        own = (self.model.bundle, self.calibration.folder)
        for recipe in self.recipes if self.recipe == DEFAULT_RECIPE else ():
            if recipe.name == DEFAULT_RECIPE and (recipe.bundle, recipe.calibration) != own:
                raise ValueError("recipes: default is what model and calibration say")
        return self

    @model_validator(mode="after")
    def _sockets_fit(self) -> LineConfig:
        longest = len(os.fsencode(self.run_dir)) + 40
        if longest > 107:
            raise ValueError(
                f"run_folder {self.run_dir} is too long for a local socket; "
                "choose a folder of at most 67 bytes"
            )
        return self
