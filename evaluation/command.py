"""The command `evaluate_line`: how good a line's model is, on labelled images."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from calibration.record_parity import save_parity
from evaluation.cases import KEPT_CASES
from evaluation.compare import Candidate, Details, check_runs, compare, load_candidates
from evaluation.evaluate import LabelledParts
from evaluation.output import (
    PAGE,
    check_apart,
    check_file,
    check_report_folder,
    each_tried,
    raise_all,
    write_text,
)
from evaluation.parity_gate import Parity, active_calibration, check_parity, statement
from evaluation.parity_report import parity_as_json, refusal, show_parity
from evaluation.parts import SEED_OFFSET, dataset_parts, drawn_parts, read_parts
from evaluation.report import as_json, show
from evaluation.results import Evaluation
from pipeline.command_line import (
    line_parser,
    load_arguments_line,
    run_command,
    whole_number,
)
from pipeline.config import LineConfig
from pipeline.errors import ConfigError, LineError
from pipeline.names import printable
from stages.reconstruction.paradigms import PARADIGMS

DESCRIPTION = """\
Measure a line's model on labelled images: how well its score tells good parts from defective
ones (image AUROC and AP), how well its map shows where the defect is (pixel AUROC and AP, PRO),
for each kind of defect and overall, and what the line would decide at its present threshold."""

EPILOG = """\
the images
  --dataset DIR   a data set with test images: the MVTec layout (test/good/, test/<kind>/ and, for
                  the pixel metrics, ground_truth/<kind>/<name>_mask.png), that of VisA or DAGM
  --parts N       fresh parts of the line's simulated camera, every other one defective, all kinds
                  of defects in turn, drawn by a seed of their own

the numbers
  AUROC  1 is perfect, 0.5 is guessing. AP weighs how many of the alarms are true, and depends on
  how many defective images or pixels there are. PRO gives each defect region the same weight,
  large or small, up to a false-positive rate of 30 % or 5 % of the pixels. Pixels are those that
  the networks see. A dash stands where a metric is not defined. An escape is a defective part
  that passes, overkill is a good part that is rejected.

paradigms and bundles
  --paradigm compares ways of denoising on the same parts (the ablation of the DiffusionAD paper).
  `iterative` runs the network hundreds of times an image: minutes for a dozen images on a CPU.
  Several bundles of one profile (other seeds) give mean and standard deviation. Escapes and
  overkill are those of the line's own paradigm, at the threshold that was calibrated for it.

the same score everywhere
  --parity asks another question: whether every way to compute a score that this machine has, each
  precision, batch size and number of threads, gives the verdicts of plain float32, one image at a
  time, at the line's threshold. Blends of passing and rejected parts are added, whose scores lie
  near it. With --accept the result is kept beside the calibration, which a machine that computes in
  another precision may then use; what was accepted of other devices stays. A mode that is refused
  is recorded there too, also without --accept, and a line does not start in it until a run with
  --accept finds it within the tolerance.

examples
  evaluate_line --line 1 --dataset DIR --json out.json --report report/
  evaluate_line --line 1 --dataset DIR --paradigm one_step norm_guided
  evaluate_line --line 1 --dataset DIR --paradigm all --at-most 20
  evaluate_line --line 1 --dataset DIR --bundle seed_1/ seed_2/ seed_3/
  evaluate_line --line 3 --parts 500
  evaluate_line --line 3 --parts 60 --parity --accept

exit codes: 0 done; 1 --parity refuses a mode; 2 configuration or images; 3 no model bundle or, for
--parity, no calibration, or not one for this line"""

ALL = "all"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `evaluate_line`; ends the process with the exit code."""
    given = sys.argv[1:] if argv is None else argv
    command = printable(shlex.join(given))
    sys.exit(run_command(lambda: evaluate_line(_arguments(given), command)))


def evaluate_line(arguments: argparse.Namespace, given: str) -> int:
    """Evaluate and report. Raises the LineErrors that end the command."""
    _refuse_what_does_not_go_together(arguments)
    configs = _configs(arguments)
    if arguments.parity:
        return _parity(arguments, configs[0], given)
    named = _paradigms(arguments.paradigm)
    _check_places(arguments)
    candidates = load_candidates(configs)
    wanted = named or _own_paradigms(candidates)
    check_runs(candidates, wanted)
    found, details = compare(
        candidates,
        wanted,
        _labelled(arguments, configs[0]),
        command=f"evaluate_line {given}",
        now=datetime.now().astimezone(),
        keep_cases=KEPT_CASES if arguments.report is not None else 0,
    )
    faults = each_tried(*_writings(arguments, found, details))
    show(found, Console())
    raise_all(faults)
    if arguments.report is not None:
        print(printable(f"Report: {arguments.report / PAGE}"))
    return 0


def _writings(
    arguments: argparse.Namespace, found: Evaluation, details: Details
) -> Iterator[Callable[[], object]]:
    """What writes each of the files that were asked for."""
    if arguments.json is not None:
        yield lambda: write_text(arguments.json, as_json(found))
    if arguments.report is not None:
        yield lambda: _write_report(arguments.report, found, details)


def _write_report(folder: Path, found: Evaluation, details: Details) -> None:
    from evaluation.report_folder import write_report  # noqa: PLC0415 - loads the plotting library

    write_report(folder, found, details)


def _parity(arguments: argparse.Namespace, config: LineConfig, given: str) -> int:
    """Compare all modes, report, and keep what was accepted. Raises LineError for a refusal."""
    _check_places(arguments)
    (candidate,) = load_candidates([config])
    check_runs([candidate], [candidate.own_paradigm])  # before the images are read, as a missing
    active_calibration(candidate)  # calibration
    found = check_parity(candidate, _labelled(arguments, config), arguments.accept)
    now = datetime.now(UTC)
    kept: list[str] = []
    writings: list[Callable[[], object]] = []
    if arguments.accept or found.refused:
        writings.append(lambda: kept.append(_kept(found, config.calibration.folder, now)))
    if arguments.json is not None:
        content = parity_as_json(found, f"evaluate_line {given}", now)
        writings.append(lambda: write_text(arguments.json, content))
    faults = each_tried(*writings)
    show_parity(found, Console())
    for text in kept:
        print(text)
    refused = [LineError(refusal(found))] if found.refused else []
    raise_all([*refused, *faults])
    return 0


def _kept(found: Parity, folder: Path, now: datetime) -> str:
    """Keep what was accepted, or what was refused: a line does not start in a refused mode."""
    file = save_parity(folder, found.calibration, statement(found, now))
    if not found.refused:
        return printable(f"Accepted: {file}")
    return printable(f"Nothing is accepted. Refused, and from now on by the line too: {file}")


def _check_places(arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        check_file("--json", arguments.json)
    if arguments.report is not None:
        check_report_folder("--report", arguments.report)
    if arguments.json is not None and arguments.report is not None:
        check_apart(arguments.json, arguments.report)


def _refuse_what_does_not_go_together(arguments: argparse.Namespace) -> None:
    if arguments.at_most is not None and arguments.dataset is None:
        raise ConfigError("--at-most goes with --dataset DIR; --parts N already says how many")
    if arguments.seed is not None and arguments.parts is None:
        raise ConfigError("--seed goes with --parts N: it draws these; a data set has its own")
    if arguments.accept and not arguments.parity:
        raise ConfigError("--accept goes with --parity: it keeps what that has shown")
    if arguments.parity and (arguments.paradigm or arguments.report or len(arguments.bundle) > 1):
        raise ConfigError(
            "--parity compares the modes of one bundle in the line's own paradigm: leave out "
            "--paradigm, --report and all but one --bundle"
        )


def _configs(arguments: argparse.Namespace) -> list[LineConfig]:
    """The line's configuration, once for each bundle, which takes the place of a recipe's."""
    config = load_arguments_line(arguments)
    models = [
        config.model.model_copy(update={"bundle": folder.resolve()}) for folder in arguments.bundle
    ]
    return [config.model_copy(update={"model": model}) for model in models] or [config]


def _paradigms(given: Sequence[str]) -> list[str]:
    """The names that --paradigm gives, each once. Raises ConfigError for an unknown one."""
    for name in given:
        if name not in (ALL, *PARADIGMS):
            names = ", ".join(PARADIGMS)
            raise ConfigError(f"--paradigm {name}: no such paradigm; choose of {names}, or {ALL}")
    return list(PARADIGMS) if ALL in given else list(dict.fromkeys(given))


def _own_paradigms(candidates: Sequence[Candidate]) -> list[str]:
    return list(dict.fromkeys(candidate.own_paradigm for candidate in candidates))


def _labelled(arguments: argparse.Namespace, config: LineConfig) -> LabelledParts:
    if arguments.dataset is not None:
        return read_parts(dataset_parts(arguments.dataset, config.frame, arguments.at_most))
    count = int(arguments.parts)
    return read_parts(drawn_parts(config, count, arguments.seed, "--dataset DIR"))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = line_parser("evaluate_line", DESCRIPTION, EPILOG)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--dataset", type=Path, metavar="DIR", help="data set with test images")
    images.add_argument(
        "--parts", type=whole_number(1), metavar="N", help="draw N parts of the simulated camera"
    )
    parser.add_argument(
        "--at-most",
        type=whole_number(1),
        metavar="N",
        help="take N images of each kind of the data set, evenly spread: for slow paradigms",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="S",
        help=f"seed of the drawn parts (default: the camera's seed + {SEED_OFFSET})",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="DIR",
        help="another bundle than the line's; several: mean and standard deviation over them",
    )
    parser.add_argument(
        "--paradigm",
        action="extend",
        nargs="+",
        default=[],
        metavar="P",
        help=f"one or more of {', '.join(PARADIGMS)}, or {ALL} (default: the line's own)",
    )
    parser.add_argument(
        "--parity",
        action="store_true",
        help="compare every precision, batch size and number of threads with plain float32",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="with --parity: the line's calibration may judge the scores of all these precisions",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write a page with tables, curves, histograms and pictures; replaces an older report",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
