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

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    return (Path(folder) / path.expanduser()).resolve()


def _resolve_address(address: str, info: ValidationInfo) -> str:
    """An address with a scheme stays as it is; anything else names a file or a device."""
    return address if "://" in address else str(_resolve(Path(address), info))


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
PixelSize = tuple[Annotated[int, Field(ge=16, le=20_000)], Annotated[int, Field(ge=16, le=20_000)]]
NetworkSize = tuple[
    Annotated[int, Field(ge=64, le=2048, multiple_of=32)],
    Annotated[int, Field(ge=64, le=2048, multiple_of=32)],
]
Topic = Annotated[str, StringConstraints(pattern=r"^[^/#+\s$][^#+\s]*[^/#+\s]$", max_length=200)]


class Section(BaseModel):
    """Base of every section: strict, closed and immutable."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


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
    url: Annotated[str, StringConstraints(min_length=1), AfterValidator(_resolve_address)]
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
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda:\d+)$")] = "auto"
    """Where the networks run: auto, cpu, or cuda:0 and so on."""


ParadigmName = Literal["one_step", "norm_guided", "ddim", "iterative", "adaptive"]


class Reconstruction(Section):
    """How the part without its defects is found."""

    paradigm: ParadigmName | None = None
    """Way of denoising; null takes the model bundle's own. Calibrate again after a change."""

    def other_than(self, bundles_own: str) -> str | None:
        """The line's paradigm where it is not the bundle's own; None where it is."""
        return None if self.paradigm == bundles_own else self.paradigm


class Calibration(Section):
    """The threshold of the line."""

    folder: ConfigPath
    """Folder of the line's calibrations, made by calibrate_line; one of them is active."""


class Timing(Section):
    """When the verdict must be there."""

    deadline_ms: Annotated[int, Field(ge=10, le=600_000)]
    """Time from capture to the latest useful verdict: the part reaches the gate soon after."""
    margin_ms: Annotated[int, Field(ge=0, le=60_000)] = 20
    """A part still open this long before its deadline is UNINSPECTED; less than deadline_ms."""

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
    """Longest time that the first part of a batch waits for company."""


class Workers(Section):
    """How many processes run a stage, and with how many threads each."""

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share the stage's parts."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Processor threads of each of them."""


class Stages(Section):
    """Processes and threads of the stages that compute."""

    preprocessing: Workers = Workers()
    reconstruction: Workers = Workers()
    segmentation: Workers = Workers()
    queue: Annotated[int, Field(ge=1, le=1000)] = 8
    """Frames that may wait between two stages, on each side of the connection."""


class EmbeddedBroker(Section):
    """An MQTT 3.1.1 broker in a process of the line, on the loopback address only."""

    kind: Literal["embedded"]
    """The line brings its own broker; it needs nothing else installed."""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """TCP port on 127.0.0.1; each line of a machine needs its own."""


class Tls(Section):
    """TLS towards the broker."""

    ca_file: ConfigPath
    """Certificate of the authority that signed the broker's certificate, PEM."""
    certificate_file: ConfigPath | None = None
    """Certificate of this line, PEM, where the broker asks for one."""
    key_file: ConfigPath | None = None
    """Private key of this line, PEM; goes together with certificate_file."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Tls:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class ExternalBroker(Section):
    """An MQTT broker in the plant."""

    kind: Literal["external"]
    """The line connects to a broker that runs by itself."""
    host: Annotated[str, StringConstraints(min_length=1)]
    """Name or address of the broker."""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """TCP port of the broker, usually 1883, or 8883 with TLS."""
    user: str | None = None
    """User name towards the broker; null connects without one."""
    password_env: str | None = None
    """Environment variable that holds the password; passwords never stand in this file."""
    password_file: ConfigPath | None = None
    """File whose first line is the password; instead of password_env."""
    tls: Tls | None = None
    """Encryption towards the broker; null connects without it."""

    @model_validator(mode="after")
    def _one_password(self) -> ExternalBroker:
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("give password_env or password_file, not both")
        if self.user is None and (self.password_env or self.password_file):
            raise ValueError("a password needs a user")
        return self


class Mqtt(Section):
    """How the PLC hears of verdicts."""

    broker: EmbeddedBroker | ExternalBroker = Field(discriminator="kind")
    """Who passes the messages on."""
    topic_root: Topic
    """Root of the line's topics: <enterprise>/<site>/<area>/line-3/inspection."""
    keepalive_s: Annotated[int, Field(ge=2, le=300)] = 5
    """A silent connection is tested after this time, and given up after one and a half of it."""


class RejectLog(Section):
    """What is kept of the parts."""

    pass_image_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of passed parts whose images are kept; rejects and uninspected parts always are."""
    view_px: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Longest side of the kept view of the part."""


class Supervision(Section):
    """When the supervisor acts."""

    restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    """Restarts of one process that are allowed within window_s; one more is a FAULT."""
    window_s: Annotated[float, Field(gt=0)] = 60.0
    """Time over which restarts are counted."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Time that a process may take until it is ready."""
    silence_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """A process that does not beat for this long is killed and started again."""


class Logging(Section):
    """Log files below the line's data folder."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least weight of what is written; --verbose writes everything."""
    max_mb: Annotated[float, Field(gt=0)] = 10.0
    """Size at which a log file is rotated."""
    files: Annotated[int, Field(ge=1, le=100)] = 5
    """Rotated files kept per process."""


class LineConfig(Section):
    """The complete configuration of one line."""

    line: Annotated[int, Field(ge=1, le=9999)]
    """Number of the line: names its sockets, parts and topics."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """Name that people give the line."""
    data_folder: ConfigPath
    """Folder of the line's ledger, reject log and log files."""
    run_folder: ConfigPath | None = None
    """Folder of sockets and lock, at most 67 bytes; null chooses one private to the user."""
    camera: SimulatedCamera | FolderCamera | StreamCamera = Field(discriminator="kind")
    """Where the parts' frames come from."""
    frame: Frame
    model: Model
    reconstruction: Reconstruction = Reconstruction()
    calibration: Calibration
    timing: Timing
    batch: Batch = Batch()
    stages: Stages = Stages()
    mqtt: Mqtt
    reject_log: RejectLog = RejectLog()
    supervision: Supervision = Supervision()
    logging: Logging = Logging()

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

    @model_validator(mode="after")
    def _sockets_fit(self) -> LineConfig:
        longest = len(os.fsencode(self.run_dir)) + 40
        if longest > 107:
            raise ValueError(
                f"run_folder {self.run_dir} is too long for a local socket; "
                "choose a folder of at most 67 bytes"
            )
        return self
