"""The direction of dependencies, walked import by import: a table of what may be used by whom."""

from __future__ import annotations

import ast
import importlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config_file import CONFIGS, load_line
from pipeline.line import TABLE, Row, table_faults

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "pipeline",
    "stages",
    "plc",
    "reject_log",
    "calibration",
    "training",
    "evaluation",
    "benchmarks",
    "chaos",
)
STAGES = ("acquisition", "preprocessing", "reconstruction", "segmentation", "decision")
CONTRACT = (
    "bell",
    "messages",
    "sequences",
    "config",
    "config_base",
    "config_mqtt",
    "config_operation",
    "config_stages",
    "data_folder",
    "errors",
    "control",
    "device_times",
    "stage",
    "journal",
    "logs",
    "loopback",
    "names",
    "next_command",
    "lock_file",
    "output_file",
    "telemetry",
)
COMMANDS = ("command_line", "config_file")
MOST_LINES = 400

CORES = frozenset(f"stages.{stage}" for stage in STAGES)
SHARED = frozenset({"contract", "stages", "stages.lanes"})
TOOLS = SHARED | {"commands", "calibration", "calibration.record"} | CORES

MAY_USE: dict[str, frozenset[str]] = {
    "run_line": frozenset({"contract", "commands", "runtime"}),
    "contract": frozenset({"contract"}),
    "commands": frozenset({"contract", "commands"}),
    "wire": frozenset({"contract"}),
    "runtime": frozenset({"contract", "commands", "runtime", "wire"}),
    "plc": frozenset({"contract", "commands", "plc"}),
    "reject_log": frozenset({"contract", "commands", "reject_log"}),
    "stages": CORES | SHARED,
    "stages.lanes": SHARED,
    **{f"stages.{stage}": SHARED | {f"stages.{stage}"} for stage in STAGES},
    "acquisition process": frozenset({"contract", "stages", "stages.acquisition"}),
    "preprocessing process": frozenset({"contract", "stages", "stages.preprocessing"}),
    "reconstruction process": frozenset({"contract", "stages", "stages.reconstruction"}),
    "segmentation process": frozenset(
        {"contract", "stages", "stages.segmentation", "calibration.record"}
    ),
    "decision process": frozenset(
        {"contract", "stages", "stages.decision", "calibration.record", "plc"}
    ),
    "calibration.record": frozenset({"contract", "commands", "calibration.record"}),
    "calibration": TOOLS,
    "training": TOOLS | {"training", "training.export"},
    "training.export": TOOLS | {"evaluation", "training.export"},
    "evaluation": TOOLS | {"evaluation"},
    "benchmarks": TOOLS
    | {"runtime", "wire", "plc", "reject_log", "evaluation", "training", "benchmarks"},
    "chaos": TOOLS | {"runtime", "wire", "plc", "reject_log", "chaos"},
}
"""Who may use what. `<stage> process` is a stage's stage.py, which nobody may use: the runtime
names it by a string. `contract` is what the pipeline offers to stages."""

ONLY_IMPORTER = {
    "zmq": ("pipeline.wire", "benchmarks.tap"),
    "pynvml": ("pipeline.telemetry",),
    "paho": ("plc", "benchmarks.verdict_reader"),
    "amqtt": ("plc",),
    "sqlite3": ("reject_log",),
    "matplotlib": ("evaluation",),
    "onnx": ("training.export",),
    "onnxruntime": ("training.export",),
    "cloudpickle": (),
    "dill": (),
    "joblib": (),
    "marshal": (),
    "multiprocessing": (),
    "shelve": (),
}


@dataclass(frozen=True)
class Source:
    """One file of the project."""

    path: Path
    tree: ast.Module

    @property
    def module(self) -> str:
        name = ".".join(self.path.relative_to(ROOT).with_suffix("").parts)
        return name.removesuffix(".__init__")

    def imports(self) -> Iterator[str]:
        """Dotted names of everything that is imported, wherever the import stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.module}: relative import"
                yield from (f"{node.module}.{name.name}" for name in node.names)


def read_sources(*folders: str) -> list[Source]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return [read_source(file) for file in files]


def read_source(file: Path) -> Source:
    return Source(file, ast.parse(file.read_text(encoding="utf-8")))


SOURCES = [read_source(ROOT / "run_line.py"), *read_sources(*PACKAGES)]
FOLDERS = {file.path.parent.relative_to(ROOT).as_posix().replace("/", ".") for file in SOURCES}


def component(name: str) -> str | None:
    """The row of the table that a dotted name belongs to; None for other people's packages."""
    first, *rest = name.split(".")
    if first == "pipeline":
        named = {"contract": CONTRACT, "commands": COMMANDS, "wire": ("wire",)}
        module = rest[0] if rest else ""
        return next((part for part, modules in named.items() if module in modules), "runtime")
    if first == "stages" and rest and f"stages.{rest[0]}" in FOLDERS:
        is_process = rest[1:2] == ["stage"]
        return f"{rest[0]} process" if is_process else f"stages.{rest[0]}"
    for part in ("calibration.record", "training.export"):
        if name.startswith(part):
            return part
    return first if first in (*PACKAGES, "run_line") else None


def forbidden(source: Source) -> list[str]:
    importer = component(source.module)
    assert importer in MAY_USE, f"{source.module} has no row in the table of dependencies"
    used = {name: component(name) for name in source.imports()}
    return [
        f"{source.module} imports {name}: {importer} may not use {part}"
        for name, part in used.items()
        if part is not None and part not in MAY_USE[importer]
    ]


def test_imports_follow_the_table() -> None:
    assert [fault for source in SOURCES for fault in forbidden(source)] == []


def test_the_table_notices_what_it_forbids() -> None:
    wrong = {
        "stages/acquisition/camera.py": "from stages.preprocessing.prepare import prepare",
        "stages/decision/ledger.py": "from pipeline import wire",
        "stages/inspector.py": "import stages.reconstruction.stage",
        "stages/segmentation/stage.py": "from plc.client import PlcClient",
        "plc/client.py": "from stages.decision.rule import DecisionRule",
        "pipeline/line.py": "def f():\n    from stages.decision import rule",
        "pipeline/messages.py": "from pipeline.supervisor import Supervisor",
        "training/loop.py": "from stages.segmentation.stage import build",
        "training/session.py": "from evaluation.metrics import auroc",
        "calibration/record.py": "from calibration.scoring import score_parts",
        "run_line.py": "import plc.client",
    }
    for path, text in wrong.items():
        assert len(forbidden(Source(ROOT / path, ast.parse(text)))) == 1, path


def test_every_row_of_the_table_of_dependencies_is_a_part_of_the_project() -> None:
    found = {component(source.module) for source in SOURCES}
    assert set(MAY_USE) - found == set()
    assert {part for parts in MAY_USE.values() for part in parts} <= set(MAY_USE)


def test_only_the_runtime_imports_by_name() -> None:
    users = {
        component(source.module)
        for source in SOURCES
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and ast.unparse(node) in ("importlib.import_module", "import_module", "__import__", "exec")
    }
    assert users == {"runtime"}


def test_libraries_with_one_importer_have_no_other() -> None:
    faults = [
        f"{source.module} imports {name}"
        for source in SOURCES
        for name in source.imports()
        for library, importers in ONLY_IMPORTER.items()
        if name == library or name.startswith(f"{library}.")
        if not any(source.module == who or source.module.startswith(f"{who}.") for who in importers)
    ]
    assert faults == []


def pickle_uses(source: Source) -> Iterator[str]:
    """Every name that is taken from pickle; to catch one of its errors is no use of it."""
    for node in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            names = [name.name for name in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [node.attr] if node.value.id == "pickle" else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            names = [node.arg]
        for name in names:
            kind = getattr(pickle, name, None)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                yield f"{source.module}: {name}"


def test_pickle_is_neither_written_nor_read() -> None:
    assert [use for source in SOURCES for use in pickle_uses(source)] == []
    for text in ("import pickle\npickle.loads(b'')", "from pickle import dumps"):
        assert list(pickle_uses(Source(ROOT / "run_line.py", ast.parse(text))))


def test_what_torch_reads_are_weights_only() -> None:
    for source in SOURCES:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = [word for word in node.keywords if word.arg == "weights_only"]
                assert safe, source.module
                assert ast.unparse(safe[0].value) == "True", source.module


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_module_of_every_process_builds_a_stage(row: Row) -> None:
    module = importlib.import_module(row.module)
    assert callable(module.build)
    for subject, check in getattr(module, "CHECKS", ()):
        assert isinstance(subject, str)
        assert callable(check)


def test_the_table_of_processes_fits_together() -> None:
    assert table_faults() == []


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_configuration_loads(file: Path) -> None:
    config = load_line(file)
    assert file.name == f"line_{config.line}.yaml"


def test_three_lines_are_shown() -> None:
    kinds = {load_line(file).camera.kind for file in CONFIGS.glob("*.yaml")}
    assert kinds == {"simulated", "folder", "stream"}


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {
        source.path.relative_to(ROOT).as_posix(): len(source.path.read_text("utf-8").splitlines())
        for source in [*SOURCES, *read_sources("tests")]
    }
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def undocumented(source: Source) -> Iterator[str]:
    if source.tree.body and not ast.get_docstring(source.tree):
        yield source.module
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_public = not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                yield f"{source.module}.{node.name}"


def test_everything_public_says_what_it_is() -> None:
    assert [name for source in SOURCES for name in undocumented(source)] == []
