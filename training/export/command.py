"""`train_line export`: a line's model bundle for other runtimes, checked before it is kept."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from calibration.images import normal_files
from calibration.layouts.dataset import GOOD, LabelledFile
from calibration.layouts.detect import read_dataset
from evaluation.compare import Candidate, load_candidates
from evaluation.evaluate import LabelledParts
from evaluation.output import check_file, check_folder, new_file, new_folder
from evaluation.parity import Engine
from evaluation.parts import EvaluationParts, dataset_parts, drawn_parts, file_parts, read_parts
from pipeline.command_line import line_parser, load_arguments_line, whole_number
from pipeline.config import LineConfig
from pipeline.errors import ConfigError, LineError
from training.export.gate import check_export, export_refusal, show_export
from training.export.graph import EXPORTED

DESCRIPTION = """\
Write a line's whole inspection for other runtimes, as one ONNX file or in OpenVINO's form: from
the prepared image to score, map and reconstruction, with the bundle's noise, exposure and surface
model inside. The line itself runs its bundle, not these files."""

EPILOG = """\
the file
  Input `images` (B, H, W, C) uint8, RGB or grey, prepared as the line's configuration says
  (`frame`); B is any number. Outputs `scores` (B,) float32, raw, `anomaly_maps` (B, H, W) float16
  in [0, 1], `reconstructions` (B, H, W, C) float16 in [-1, 1]. Its metadata name bundle, paradigm,
  size, exposure and versions.
  A REJECT is a score above the threshold of the line's calibration, which is not in the file.
  --openvino writes the same as line_N_<bundle>.xml and .bin into a folder of their own, without
  the metadata; an earlier export in that folder is replaced.

the gate
  onnxruntime, or OpenVINO for its own form, scores parts from the file, on the CPU, in batches of
  1, 2 and 5, and blends of a passing and a rejected part that lie near the threshold. A score may
  move by 0.001 of its log odds from that of the line's own networks in float32, and no verdict
  further from the threshold may change. Otherwise it is deleted, and the command ends with exit
  code 1 and the figures.

examples
  train_line export --line 3 --onnx line_3.onnx
  train_line export --line 1 --images DIR --onnx exported/
  train_line export --line 3 --openvino line_3_openvino/

exit codes: 0 written; 1 other scores than the line's; 2 configuration, images or missing packages;
3 no model bundle, or not one for this line"""

PARTS = 24
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPENVINO = ("onnx", "onnxscript", "openvino")
OF_AN_EXPORT = re.compile(r"line_\d+_[0-9a-f]+\.(xml|bin)")


def export_line(argv: Sequence[str]) -> int:
    """Write, compare, keep or delete. Raises the LineErrors that end the command."""
    arguments = _arguments(argv)
    _check_packages(PACKAGES if arguments.openvino is None else OPENVINO)
    (candidate,) = load_candidates([_config(arguments)])
    _check_paradigm(candidate.own_paradigm)
    name = f"line_{candidate.config.line}_{candidate.bundle.id}"
    if arguments.openvino is None:
        file = _onnx_file(arguments.onnx, name)
        _export_onnx(candidate, _labelled(arguments, candidate.config), file)
    else:
        file = arguments.openvino / f"{name}.xml"
        check_folder("--openvino", arguments.openvino, OF_AN_EXPORT, "an export")
        _export_openvino(candidate, _labelled(arguments, candidate.config), file)
    height, width = candidate.bundle.manifest.image_size_px
    files = [file] if arguments.openvino is None else [file, file.with_suffix(".bin")]
    print(
        f"{file}: bundle {candidate.bundle.id}, {candidate.own_paradigm}, images of {height} x "
        f"{width} pixels, {sum(it.stat().st_size for it in files) / 1e6:.1f} MB.\nIts scores are "
        "those of the line's networks in float32."
    )
    if arguments.openvino is not None:
        print(
            "OpenVINO rounds to bfloat16 by default where the processor can: compile the file with "
            'INFERENCE_PRECISION_HINT "f32".'
        )
    return 0


def _export_onnx(candidate: Candidate, labelled: LabelledParts, file: Path) -> None:
    from training.export.onnx_file import write_onnx  # noqa: PLC0415 - packages may be missing
    from training.export.runtime import OnnxInspector  # noqa: PLC0415 - likewise

    with new_file(file) as unfinished:
        write_onnx(candidate.bundle, candidate.own_paradigm, unfinished)
        _pass_the_gate("onnxruntime", OnnxInspector(unfinished), candidate, labelled)


def _export_openvino(candidate: Candidate, labelled: LabelledParts, file: Path) -> None:
    from training.export.onnx_file import write_onnx  # noqa: PLC0415 - packages may be missing
    from training.export.openvino_files import (  # noqa: PLC0415 - likewise
        OpenvinoInspector,
        write_openvino,
    )

    with new_folder(file.parent) as unfinished:
        with TemporaryDirectory() as scratch:
            onnx_file = Path(scratch) / "inspection.onnx"
            write_onnx(candidate.bundle, candidate.own_paradigm, onnx_file)
            write_openvino(onnx_file, unfinished / file.name)
        inspector = OpenvinoInspector(unfinished / file.name)
        _pass_the_gate("openvino", inspector, candidate, labelled)


def _pass_the_gate(
    runtime: str, engine: Engine, candidate: Candidate, labelled: LabelledParts
) -> None:
    """Compare and show. Raises LineError for other scores than the line's."""
    found = check_export(runtime, engine, candidate, labelled)
    show_export(found, Console())
    if found.refused:
        raise LineError(export_refusal(found))


def _check_packages(wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"an export needs the packages {', '.join(missing)}, which are not installed: run "
            f"python -m pip install -c constraints.txt -e '.[{_extras(wanted)}]' in the project's "
            "folder"
        )


def _extras(wanted: Sequence[str]) -> str:
    return "export,openvino" if "openvino" in wanted else "export"


def _check_paradigm(paradigm: str) -> None:
    if paradigm not in EXPORTED:
        raise ConfigError(
            f"the paradigm {paradigm} runs the network many times an image, with steps that an "
            f"exported file does not hold; only {' and '.join(EXPORTED)} can be exported: "
            "calibrate the line with one of these, or give --set reconstruction.paradigm=one_step"
        )


def _config(arguments: argparse.Namespace) -> LineConfig:
    own = arguments.bundle
    extra = [] if own is None else [("model.bundle", str(own.resolve()))]
    return load_arguments_line(arguments, extra)


def _onnx_file(given: Path, name: str) -> Path:
    """The file to write, in the folder or under the name that was given."""
    file = given / f"{name}.onnx" if given.is_dir() else given
    if file.exists() and not file.is_file():
        raise ConfigError(f"--onnx {file}: this is no plain file; give another name")
    check_file("--onnx", file)
    return file


def _labelled(arguments: argparse.Namespace, config: LineConfig) -> LabelledParts:
    count = int(arguments.parts)
    if arguments.images is None:
        return read_parts(drawn_parts(config, count, None, "--images DIR"))
    return read_parts(_given_parts(arguments.images, config, count))


def _given_parts(folder: Path, config: LineConfig, most: int) -> EvaluationParts:
    """Labelled images where the folder has any, else its good parts."""
    if read_dataset(folder).tests:
        return dataset_parts(folder, config.frame, most)
    root, files = normal_files(folder)
    good = [LabelledFile(file, file.relative_to(root).as_posix(), GOOD, ()) for file in files]
    return file_parts(good, f"folder {root}", config.frame, most)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = line_parser("train_line export", DESCRIPTION, EPILOG)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE",
        help="file to write, or a folder: line_N_<bundle>.onnx in it",
    )
    form.add_argument(
        "--openvino", type=Path, metavar="FOLDER", help="folder for line_N_<bundle>.xml and .bin"
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="another bundle than the line's")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="compare on these images: labelled ones of a data set, or good parts "
        "(default: parts of the line's simulated camera)",
    )
    parser.add_argument(
        "--parts",
        type=whole_number(2),
        default=PARTS,
        metavar="N",
        help=f"compare on so many parts, or at most so many of each kind in DIR (default: {PARTS})",
    )
    return parser.parse_args(argv)
