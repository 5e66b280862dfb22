"""An ONNX file: the graph of an inspection, written with what a reader must know of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import onnx
import torch

from stages.bundle import Bundle
from stages.inspector import Inspection
from training.export.graph import InspectionGraph

OPSET = 18
"""Of 2022: what runtimes of the last years read."""

INPUT = "images"
OUTPUTS = Inspection._fields


def write_onnx(bundle: Bundle, paradigm: str, file: Path) -> None:
    """The whole inspection as one file, for batches of any size; `paradigm` one of EXPORTED.

    Input and outputs are those of `InspectionGraph.forward`, named `images`, `scores`,
    `anomaly_maps` and `reconstructions`. Raises OSError where it cannot be written.
    """
    graph = InspectionGraph(bundle, paradigm)
    with _without_remarks():
        program = torch.onnx.export(
            graph,
            (torch.zeros((2, *graph.shape), dtype=torch.uint8),),
            input_names=[INPUT],
            output_names=OUTPUTS,
            opset_version=OPSET,
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # where in the program it came from
        node.doc_string = ""
    onnx.helper.set_model_props(model, metadata(bundle, paradigm))
    onnx.save_model(model, file)


def metadata(bundle: Bundle, paradigm: str) -> dict[str, str]:
    """What the file says of itself, name by name."""
    manifest = bundle.manifest
    height, width = manifest.image_size_px
    return {
        "bundle_id": bundle.id,
        "paradigm": paradigm,
        "profile": manifest.profile.name,
        "height_px": str(height),
        "width_px": str(width),
        "channels": "grey" if manifest.channels == 1 else "rgb",
        "exposure_level": str(manifest.exposure_level or "as it is"),
        "surface_model": "yes" if manifest.surface else "no",
        "project": f"inspection-line {version('inspection-line')}",
        "torch": str(torch.__version__),
    }


def read_metadata(file: Path) -> Mapping[str, str]:
    """The metadata of a file that `write_onnx` wrote."""
    model = onnx.load_model(file, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


@contextmanager
def _without_remarks() -> Iterator[None]:
    """PyTorch's exporter remarks on packages that it does not need and on its own future."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        log.setLevel(before)
