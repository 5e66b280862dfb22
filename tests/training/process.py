"""Trainings that the tests start as processes of their own: `process.py NAME FOLDER [OPTION ...]`.

    train      a whole training through all phases; FOLDER/bundle and, of each process, its tensors
    gradients  of each process the gradients of its share of a joint batch
    joint      the gradients of the joint batch in one process

Options: `resume`; `nan_at=S`, `interrupt_at=S`: what happens to the last process before or after
step S; `full`: the first process cannot write large files; `other_images`,
`other_steps`: of the others.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from conftest import brushed_parts
from torch import Tensor, nn

from pipeline.errors import LineError
from stages.model_profiles import PROFILES
from stages.reconstruction.paradigms import DiffusionSettings, noise_model
from stages.reconstruction.unet import UNet
from stages.segmentation.network import SegmentationNetwork, SegmentationSizes
from tiny_profile import TINY
from training import session
from training.distributed import ALONE, Mean, World, joined, learn_jointly
from training.forward import JointModel, Lesson, NoiseDraw, draw_noise, joint_losses
from training.images import image_set
from training.joint_norm import join_norms
from training.ranking import ranking_loss
from training.report import StepReport
from training.settings import TrainingSettings
from training.synthesis import Batch
from training.trainer import Trainer

STEPS = 12
LABELS = {"uneven": [0, 0, 0, 1, 0, 1], "no normal sample": [0, 1, 0, 0, 1, 1]}
NORMS = {"group norm": 4, "batch norm": 0}
CASES = [(name, norm) for name in LABELS for norm in NORMS]
FIRST_HAS = 4
"""Samples of the joint batch that the first of two processes gets; the other gets the rest."""


def settings(**changes: object) -> TrainingSettings:
    """All phases within STEPS, and a pool that is renewed."""
    shares = {"reconstruction_share": 0.25, "joint_share": 0.5, "pool_refresh": 0.5}
    sizes = {"crop_px": 32, "pool_images": 8, "validation_images": 4, "warm_up_steps": 2}
    plain = {"profile": "tiny", "steps": STEPS, "device": "cpu", **shares, **sizes}
    return TrainingSettings.model_validate(plain | changes)


class Told(Trainer):
    """A trainer that says which step it has done, and lets things happen to the last process."""

    made: Trainer | None = None
    nan_at = interrupt_at = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Told.made = self

    def step(self, progress: float) -> StepReport:
        last = self._world.rank == self._world.size - 1
        if last and self.step_count + 1 == self.nan_at:
            nn.init.constant_(self.unet.stem.weight, float("nan"))
        report = super().step(progress)
        print(f"done {report.step}", flush=True)
        if last and report.step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return report


def small_trainings() -> None:
    """The tiny profile, on one thread."""
    torch.set_num_threads(1)
    PROFILES["tiny"] = TINY


def train(folder: Path, *options: str) -> None:
    numbers = dict(option.split("=") for option in options if "=" in option)
    for name, value in numbers.items():
        setattr(Told, name, int(value))
    rank = int(os.environ.get("RANK", "0"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if "full" in options and rank == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    session.Trainer = Told  # type: ignore[misc]
    parts = brushed_parts()[:: -1 if "other_images" in options and rank > 0 else 1]
    images, told = image_set(parts, [f"part {i}" for i in range(len(parts))]), ""
    steps = STEPS + 1 if "other_steps" in options and rank > 0 else STEPS
    often = settings(checkpoint_minutes=1e-9, steps=steps)
    try:
        session.train(images, often, folder / "bundle", resume="resume" in options)
    except LineError as error:
        told = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Told.made is not None
    threads = len(list(Path("/proc/self/task").iterdir()))
    left = {"state": Told.made.state(), "error": told, "threads": threads}
    torch.save(left, folder / f"rank {rank}.pt")
    sys.exit(1 if told else 0)


def gradients(folder: Path) -> None:
    with joined("cpu") as world:
        part = slice(0, FIRST_HAS) if world.first else slice(FIRST_HAS, None)
        found = {case: gradients_of(*case, part, world) for case in CASES}
    torch.save(found, folder / f"gradients {world.rank}.pt")


def joint(folder: Path) -> None:
    found = {case: gradients_of(*case, slice(None), ALONE) for case in CASES}
    torch.save(found, folder / "gradients joint.pt")


def gradients_of(name: str, norm: str, part: slice, world: World) -> dict[str, Tensor]:
    """Gradients and losses of `part` of a joint batch in full precision, and what the norms of the
    segmentation network keep of it.
    """
    torch.manual_seed(0)
    diffusion = DiffusionSettings()
    schedule = diffusion.make_schedule()
    unet = UNet(1, TINY.unet)
    for parameter in unet.parameters():  # a fresh U-Net's last layers are zero
        nn.init.normal_(parameter, std=0.1)
    sizes = SegmentationSizes(widths=(8, 16), unshuffle=2, groups=NORMS[norm], difference=True)
    segmentation = SegmentationNetwork(1, sizes)
    join_norms(segmentation, world)
    labels = torch.tensor(LABELS[name], dtype=torch.float32)
    images = torch.rand(len(labels), 1, 32, 32) * 2 - 1
    masks = labels[:, None, None, None] * (torch.rand_like(images) > 0.7)
    noise = draw_noise(images, diffusion, 0.5, torch.Generator().manual_seed(1))
    batch = Batch(images[part], images[part], masks[part], labels[part])
    draws = (noise.t_small, noise.t_big, noise.eps_small, noise.eps_big)
    model = JointModel(noise_model(unet, schedule, diffusion), segmentation, schedule, diffusion)
    losses = joint_losses(model, batch, NoiseDraw(*(draw[part] for draw in draws)), Lesson())
    normal, pixels = (1.0 - batch.labels).sum(), torch.tensor(float(batch.masks.numel()))
    order = ranking_loss(segmentation(batch.images, batch.images.flip(3)), blots(part), world)
    means = [Mean(losses.noise, normal), Mean(losses.mask, pixels), order]
    both = nn.ModuleDict({"unet": unet, "segmentation": segmentation})
    return {
        "means": learn_jointly(means, [both], world),
        **{n: p.grad for n, p in both.named_parameters() if p.grad is not None},
        **dict(segmentation.named_buffers()),
    }


def blots(part: slice) -> Tensor:
    """Masks (B, 1, 32, 32) of `part` of a joint batch with room beside them for what is good: the
    first process has two samples with a defect and the other one.
    """
    masks = torch.zeros(6, 1, 32, 32)
    masks[1::2, :, 4:12, 6:12] = 1.0
    return masks[part]


if __name__ == "__main__":
    small_trainings()
    {"train": train, "gradients": gradients, "joint": joint}[sys.argv[1]](
        Path(sys.argv[2]), *sys.argv[3:]
    )
