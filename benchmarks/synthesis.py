"""What painting synthetic anomalies costs, per kind, and its share of a training step.

    python -m benchmarks.synthesis
    python -m benchmarks.synthesis --input-px 512 --threads 4 --json synthesis.json

Paintings are timed on one thread, on whole parts. The steps are those that paint: of both networks
together, and of the segmentation network alone, while its pool fills, when every step paints, and
with a full pool, when some of the steps renew a few images.

exit codes: 0 done; 2 arguments
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.speed import machine_content, machine_text
from benchmarks.table import text_table
from evaluation.output import check_file, write_text
from pipeline.command_line import plain_parser, run_command, whole_number
from stages.acquisition.simulation import PRODUCTS, PartRenderer
from stages.device import choose_device, set_threads
from stages.model_profiles import PROFILES
from training.augment import ViewSource
from training.foreground import foreground_mask
from training.pool import PAINTED, REFRESHED
from training.settings import OF_PROFILE, TrainingSettings
from training.synthesis import AnomalyKind, Synthesizer
from training.trainer import Trainer

PARTS = 16
SIDES_PX = range(128, 1025, 32)
WARM_UP = 3


@dataclass(frozen=True)
class Cost:
    """Of an image."""

    ms_p50: float
    ms_p99: float


@dataclass(frozen=True)
class StepCost:
    """Means over training steps: what they take, and how long they wait for their images."""

    step_ms: float
    painting_ms: float

    @property
    def share(self) -> float:
        """Of painting, in [0, 1]."""
        return self.painting_ms / self.step_ms


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.json is not None:
        check_file("--json", options.json)
    cv2.setNumThreads(1)  # as a training does
    set_threads(options.threads)
    size = options.input_px, options.input_px
    renderer = PartRenderer(options.product, size, seed=0, defect_share=0.0)
    parts = np.stack([renderer.render(number).image for number in range(PARTS)])
    source = ViewSource(parts, _settings(options))
    paintings = painting_costs(parts, source, options.repeats)
    steps = step_costs(source, options)
    content = _content(paintings, steps, options)
    print(_text(paintings, steps, content))
    if options.json is not None:
        write_text(options.json, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return 0


def painting_costs(parts: NDArray[np.uint8], source: ViewSource, repeats: int) -> dict[str, Cost]:
    """Of one defect of every kind on a part of (N, H, W, C), and of an image of the batches that
    the pool orders: views, most of them with several defects, their masks and tensors.
    """
    rng, synthesizer = np.random.default_rng(0), Synthesizer()
    foregrounds = [foreground_mask(part, source.background) for part in parts]
    images = parts.astype(np.float32)

    def paint(kind: AnomalyKind, turn: int) -> None:
        i = turn % len(parts)
        synthesizer.paint_kind(images[i], foregrounds[i], kind, rng)

    def batch(_: int) -> None:
        views = source.draw_whole(rng, REFRESHED)
        synthesizer.batch(views.normals, views.foregrounds, rng, True, PAINTED)

    costs = {kind.value: _cost(partial(paint, kind), repeats) for kind in AnomalyKind}
    return costs | {"image of a batch": _cost(batch, repeats, images=REFRESHED)}


def step_costs(source: ViewSource, options: argparse.Namespace) -> dict[str, StepCost]:
    """Of the steps that paint, by phase."""
    joint = _step_cost(source, options, joint_share=1.0)
    most = REFRESHED * (options.steps + WARM_UP + 1)
    filling = _step_cost(source, options, joint_share=0.0, pool_images=most)
    resting = _step_cost(source, options, joint_share=0.0, pool_images=REFRESHED, pool_refresh=0.0)
    share = _settings(options).pool_refresh
    full = StepCost(
        share * filling.step_ms + (1.0 - share) * resting.step_ms,
        share * filling.painting_ms + (1.0 - share) * resting.painting_ms,
    )
    return {"both networks": joint, "pool filling": filling, "pool full": full}


def _cost(work: Callable[[int], None], repeats: int, images: int = 1) -> Cost:
    seconds = []
    for turn in range(-WARM_UP, repeats):
        started_s = time.perf_counter()
        work(turn)
        if turn >= 0:
            seconds.append((time.perf_counter() - started_s) / images)
    p50, p99 = (1e3 * float(np.percentile(seconds, share)) for share in (50, 99))
    return Cost(p50, p99)


def _step_cost(source: ViewSource, options: argparse.Namespace, **changes: object) -> StepCost:
    settings = _settings(options, reconstruction_share=0.0, **changes)
    device = choose_device(options.device)
    trainer = Trainer(source, Synthesizer(), settings, channels=3, device=device)
    reports = [trainer.step(0.5) for _ in range(WARM_UP + options.steps)][WARM_UP:]
    return StepCost(
        1e3 * float(np.mean([report.step_s for report in reports])),
        1e3 * float(np.mean([report.painting_s for report in reports])),
    )


def _settings(options: argparse.Namespace, **changes: object) -> TrainingSettings:
    of_profile = OF_PROFILE.get(options.profile, {})
    given = {"profile": options.profile, "steps": 1000, "device": options.device}
    return TrainingSettings.model_validate({**of_profile, **given, **changes})


def _content(
    paintings: Mapping[str, Cost], steps: Mapping[str, StepCost], options: argparse.Namespace
) -> dict[str, Any]:
    return {
        **machine_content(options.device),
        "threads": options.threads,
        "profile": options.profile,
        "batch_size": _settings(options).batch_size,
        "product": options.product,
        "input_px": options.input_px,
        "painting_ms": {name: asdict(cost) for name, cost in paintings.items()},
        "steps": {name: {**asdict(cost), "share": cost.share} for name, cost in steps.items()},
    }


def _text(
    paintings: Mapping[str, Cost], steps: Mapping[str, StepCost], content: Mapping[str, Any]
) -> str:
    side = content["input_px"]
    painted = [[name, f"{c.ms_p50:.2f}", f"{c.ms_p99:.2f}"] for name, c in paintings.items()]
    timed = [
        [name, f"{c.step_ms:.0f}", f"{c.painting_ms:.1f}", f"{c.share:.1%}"]
        for name, c in steps.items()
    ]
    return "\n".join(
        [
            f"painting on {content['product']}, {side}x{side}, one thread",
            text_table(["kind", "p50 ms", "p99 ms"], painted),
            "",
            f"steps of {content['profile']}, batch {content['batch_size']}, "
            f"{content['threads']} threads ({machine_text(content)})",
            text_table(["step", "ms", "painting ms", "share"], timed),
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("benchmarks.synthesis", __doc__)
    parser.add_argument("--product", choices=PRODUCTS, default="moulded_cap", help="what to paint")
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default="compact", help="whose steps to time"
    )
    parser.add_argument(
        "--input-px",
        type=int,
        choices=SIDES_PX,
        default=256,
        metavar="N",
        help="side of the parts, a multiple of 32 (default 256)",
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda:0")
    for name, default, help_text in (
        ("--threads", 2, "threads of the networks"),
        ("--repeats", 200, "paintings of each kind"),
        ("--steps", 10, "training steps of each sort"),
    ):
        parser.add_argument(
            name,
            type=whole_number(1),
            default=default,
            metavar="N",
            help=f"{help_text} (default {default})",
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
