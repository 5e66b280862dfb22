"""Everything that a training can be told; recorded with the bundle that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.exposure import Exposure
from stages.reconstruction.schedule import BETA_START, ScheduleName
from training.synthesis import AnomalyKind

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class TrainingSettings(BaseModel):
    """The budget is either `minutes` of wall time or an exact number of `steps`.

    `noise_schedule` and `beta_end`, its end value if it is linear, take the place of the profile's;
    the bundle's profile records them.

    A step trains on `batch_size` crops of `crop_px` a side or, in `whole_share` of the steps, on
    whole images of about as many pixels. Batches are small: in a given time many steps on few
    samples reach further than few steps on many. `focus_share` of the samples draw the two time
    steps that inference uses, the others draw them at random as in the paper.

    For the first `reconstruction_share` of the budget the U-Net learns alone: a segmentation
    network that is shown reconstructions of noise learns to ignore them, and its gradients spoil
    them further. From `joint_share` of the budget on, the U-Net stays as it is and the segmentation
    network learns alone, on a pool of `pool_images` reconstructions of which `pool_refresh` of the
    steps replace a few: from `pool_batch_size` crops a step or, in `pool_whole_share` of the steps,
    from whole images; `pool_ranking` times the loss of their order (`training.ranking`) is added to
    that of their masks. Between the two shares both learn jointly: 0 and 1 is the paper's training.
    `restoration` also gives the U-Net the anomalous samples, with the part without its anomaly as
    the answer; the paper leaves them out of (9), and good parts are then redrawn more exactly.

    A share of `warp_share` of the views is turned by up to `turn_deg` and zoomed by up to
    `zoom_jitter`, each way by itself. Where parts differ and few are to be learnt from, more of
    their kind are then known; parts that always lie and look the same are learnt as they are.

    A share of `optics_share` of the images is blurred, noisy or compressed a little more than the
    camera made them, so that paint is not told from a defect by its sharpness (`training.optics`).
    `clip_norm` bounds the norm of each network's gradient; None leaves it.
    `balance` weighs the pixels of a defect against its area (`training.balance`); 0 is the paper's.
    `exposure` evened brings all images to one brightness (`stages.exposure`); auto does so where
    that of the good parts varies much. With `surface` the bundle gets a surface model, fitted at
    the end (`stages.segmentation.surface`); the paper has none.

    The rates are the peaks; a network's rate ends its phase at a tenth, unless `rate_schedule` is
    constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    profile: str = "compact"
    minutes: Positive | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    device: str = "auto"

    noise_schedule: ScheduleName | None = None
    beta_end: Annotated[float, Field(gt=BETA_START, lt=1.0)] | None = None

    batch_size: Annotated[int, Field(ge=2)] = 4
    crop_px: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    whole_share: Share = 0.5
    exposure: Exposure = "auto"
    surface: bool = True
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness_jitter: Share = 0.04
    warp_share: Share = 0.0
    turn_deg: Annotated[float, Field(ge=0.0, le=45.0)] = 4.0
    zoom_jitter: Annotated[float, Field(ge=0.0, le=0.5)] = 0.12
    kinds: Annotated[tuple[AnomalyKind, ...], Field(min_length=1)] = tuple(AnomalyKind)
    textures: str | None = None
    optics_share: Share = 0.7

    learning_rate: Positive = 2e-3
    segmentation_rate: Positive = 5e-4
    rate_schedule: Literal["cosine", "constant"] = "cosine"
    warm_up_steps: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-3
    clip_norm: Positive | None = 1.0
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    focus_share: Share = 0.8
    reconstruction_share: Share = 0.36
    joint_share: Share = 0.36
    pool_images: Annotated[int, Field(ge=4)] = 256
    pool_refresh: Share = 0.1
    pool_batch_size: Annotated[int, Field(ge=1)] = 8
    pool_whole_share: Share = 0.15
    pool_ranking: Annotated[float, Field(ge=0.0)] = 0.2
    restoration: bool = False
    balance: Share = 0.5

    validation_share: Share = 0.15
    validation_images: Annotated[int, Field(ge=4)] = 48
    validation_minutes: Positive = 4.0
    checkpoint_minutes: Positive = 3.0

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either minutes or steps, the budget of the training")
        return self

    @model_validator(mode="after")
    def _only_linear_has_an_end(self) -> Self:
        if self.noise_schedule == "cosine" and self.beta_end is not None:
            raise ValueError("beta_end goes with a linear noise_schedule; cosine has no end value")
        return self

    @model_validator(mode="after")
    def _shares_in_order(self) -> Self:
        if self.reconstruction_share > self.joint_share:
            raise ValueError("reconstruction_share must not be above joint_share")
        return self


JOINTLY: Mapping[str, object] = MappingProxyType(
    {
        "learning_rate": 1e-4,
        "segmentation_rate": 1e-4,
        "reconstruction_share": 0.0,
        "joint_share": 1.0,
    }
)
"""Both networks together from the first step to the last, at the paper's rate."""

OF_PROFILE: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "paper": {
            "batch_size": 16,
            "crop_px": 256,
            **JOINTLY,
            "rate_schedule": "constant",
            "warm_up_steps": 0,
            "weight_decay": 0.0,
            "ema_decay": 0.0,
            "focus_share": 0.0,
            "balance": 0.0,
            "optics_share": 0.0,
            "brightness_jitter": 0.0,
            "exposure": "as_is",
            "clip_norm": None,
            "kinds": (AnomalyKind.PERLIN,),
            "surface": False,
        },
        "texture": {
            "reconstruction_share": 0.2,
            "joint_share": 0.2,
            "warp_share": 0.7,
            "brightness_jitter": 0.1,
        },
    }
)
"""Settings that come with a profile instead of the defaults: the paper's training for `paper`; for
`texture` most of the time for the segmentation network, which has most to learn, and views of more
parts than there are."""
