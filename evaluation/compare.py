"""Every bundle under every paradigm, on the same parts."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import torch

from calibration.progress import progress_bar
from calibration.record_parity import load_calibration_for
from evaluation.cases import Extremes
from evaluation.evaluate import LabelledParts, Run, count_verdicts, faults_of, figures_of, run
from evaluation.results import (
    BundleResult,
    Evaluation,
    Figures,
    VerdictCounts,
    main_paradigm,
)
from pipeline.config import LineConfig
from pipeline.errors import CalibrationError, ConfigError
from pipeline.names import printable
from stages.bundle import Bundle
from stages.execution import Execution
from stages.inspector import Inspector
from stages.readiness import computes_in, load_line_bundle
from stages.reconstruction.engine import check_paradigm


@dataclass(frozen=True)
class Candidate:
    """A bundle in its line, and the paradigm that the line runs it with."""

    config: LineConfig
    bundle: Bundle

    @property
    def own_paradigm(self) -> str:
        """The line's, or else the bundle's."""
        return self.config.reconstruction.paradigm or self.bundle.manifest.paradigm


class Verdicts(NamedTuple):
    """Verdicts at the active threshold; None, and why, where the line has none."""

    counts: VerdictCounts | None
    missing: str


class Details(NamedTuple):
    """The run that a report shows in depth, of the first bundle and the main paradigm."""

    labelled: LabelledParts
    run: Run
    extremes: Extremes


class Comparison(NamedTuple):
    """What was found, and one run of it in depth."""

    found: Evaluation
    details: Details


def load_candidates(configs: Sequence[LineConfig]) -> list[Candidate]:
    """The bundles of a line, each fitting it: several are trainings of one profile. Raises
    BundleError that names the one that does not fit, and ConfigError for one bundle given twice and
    for bundles of different profiles.
    """
    candidates: dict[str, Candidate] = {}
    for config in configs:
        bundle = load_line_bundle(config)
        if bundle.id in candidates:
            raise ConfigError(
                f"--bundle {bundle.folder}: the same bundle as "
                f"{candidates[bundle.id].bundle.folder} ({bundle.id}); give each bundle once"
            )
        candidates[bundle.id] = Candidate(config, bundle)
    found = list(candidates.values())
    _check_profiles([candidate.bundle for candidate in found])
    return found


def _check_profiles(bundles: Sequence[Bundle]) -> None:
    first, *others = bundles
    for other in others:
        if other.manifest.profile != first.manifest.profile:
            names = [bundle.manifest.profile.name for bundle in (first, other)]
            how = "" if names[0] != names[1] else ", with other sizes or another noise schedule"
            raise ConfigError(
                f"--bundle {other.folder} is of the profile {names[1]}{how}, {first.folder} of "
                f"{names[0]}: mean and standard deviation are over trainings of one profile; "
                "evaluate each by itself"
            )


def check_runs(candidates: Sequence[Candidate], paradigms: Sequence[str]) -> None:
    """Raises ConfigError that names the first paradigm that a bundle's device cannot run: once the
    images go through the networks, it would cost all that was found before.
    """
    for candidate in candidates:
        device = candidate.config.model.device
        for paradigm in paradigms:
            try:
                check_paradigm(candidate.bundle, device, paradigm)
            except ConfigError as error:
                raise ConfigError(f"paradigm {paradigm} on device {device}: {error}") from error


def compare(
    candidates: Sequence[Candidate],
    paradigms: Sequence[str],
    labelled: LabelledParts,
    command: str,
    now: datetime,
    keep_cases: int,
) -> Comparison:
    """Each bundle under each paradigm; `keep_cases` parts a kind and end are kept with pictures.

    Raises InputError for a score that is not finite, ConfigError for an unknown paradigm.
    """
    first = candidates[0]
    main = main_paradigm(first.own_paradigm, paradigms)
    extremes = Extremes(keep_cases)
    details: list[Details] = []
    results: list[BundleResult] = []
    for candidate in candidates:
        figures: dict[str, Figures] = {}
        verdicts = Verdicts(None, f"the line's paradigm {candidate.own_paradigm} was not evaluated")
        for paradigm in paradigms:
            in_depth = candidate is first and paradigm == main
            kept = extremes if in_depth else Extremes(0)
            done = _run(candidate, paradigm, labelled, kept)
            figures[paradigm] = figures_of(labelled, done)
            if in_depth:
                details.append(Details(labelled, done, extremes))
            if paradigm == candidate.own_paradigm:
                verdicts = _verdicts(candidate, labelled, done)
        results.append(_result(candidate, figures, verdicts))
    return Comparison(_evaluation(first, results, labelled, command, now), details[0])


def _run(candidate: Candidate, paradigm: str, labelled: LabelledParts, extremes: Extremes) -> Run:
    config, bundle = candidate.config, candidate.bundle
    inspector = Inspector(bundle, config.model.device, paradigm=paradigm)
    with progress_bar(f"evaluating {bundle.id[:6]} {paradigm}", len(labelled.parts)) as advance:
        return run(inspector, labelled, config.batch.size, extremes, advance)


def _verdicts(candidate: Candidate, labelled: LabelledParts, done: Run) -> Verdicts:
    bundle = candidate.bundle
    try:
        active = load_calibration_for(
            candidate.config, bundle.id, bundle.manifest.paradigm, computes_in(candidate.config)
        )
    except CalibrationError as error:
        return Verdicts(None, printable(str(error)))
    return Verdicts(count_verdicts(labelled, done, active.threshold, active.id), "")


def _result(candidate: Candidate, figures: dict[str, Figures], verdicts: Verdicts) -> BundleResult:
    bundle = candidate.bundle
    return BundleResult(
        id=bundle.id,
        folder=Path(printable(str(_as_seen_from_here(bundle.folder)))),
        profile=bundle.manifest.profile.name,
        own_paradigm=candidate.own_paradigm,
        paradigms=figures,
        verdicts=verdicts.counts,
        verdicts_missing=verdicts.missing,
    )


def _as_seen_from_here(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _evaluation(
    first: Candidate,
    results: Sequence[BundleResult],
    labelled: LabelledParts,
    command: str,
    now: datetime,
) -> Evaluation:
    execution = Execution(first.config.model.device)
    return Evaluation(
        line=first.config.line,
        source=labelled.source,
        created=now,
        command=command,
        device=str(execution.device),
        device_name=device_name(execution.device),
        dtype=execution.computes_in,
        batch_size=first.config.batch.size,
        bundles=tuple(results),
        skipped=labelled.skipped,
        mask_faults=labelled.mask_faults,
        faults=faults_of(labelled),
    )


def device_name(device: torch.device) -> str:
    """What a person calls the device: the GPU's name, or the processor's and how many threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """The processor's name as Linux tells it, else what the platform calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
