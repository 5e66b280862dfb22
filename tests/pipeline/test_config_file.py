"""Every mistake in a configuration is named, all at once, with file, key path and value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import LineConfig
from pipeline.config_file import (
    CONFIGS,
    check_line,
    line_file,
    load_line,
    parse_override,
    read_yaml,
    write_line,
)
from pipeline.errors import ConfigError

Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture
def data() -> dict[str, Any]:
    return read_yaml(line_file(3))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any] | str], Path]:
    def write_file(content: dict[str, Any] | str) -> Path:
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        file = tmp_path / "line_7.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def complaint(file: Path, overrides: list[tuple[str, Any]] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_line(file, overrides or [])
    assert caught.value.exit_code == 2
    return str(caught.value)


MISTAKES: dict[str, tuple[str, Any, str]] = {
    "unknown key": ("batch.sise", 4, "batch.sise: unknown key"),
    "unknown key at the top": ("bacth", {}, "bacth: unknown key"),
    "missing key of a member that is called as one of its keys": (
        "camera",
        {"kind": "folder", "folder": "x"},
        "camera.rate_hz: missing",
    ),
    "unknown key in a union": ("camera.folder", "x", "camera.folder: unknown key"),
    "text for a number": ("timing.deadline_ms", "soon", "timing.deadline_ms: input should be"),
    "digits as text": ("mqtt.broker.port", "1883", "mqtt.broker.port: input should be a valid int"),
    "a fraction for a whole number": ("batch.size", 2.5, "batch.size: input should be a valid int"),
    "true for a number": ("camera.seed", True, "camera.seed: input should be a valid integer"),
    "number for text": ("name", 3, "name: input should be a valid string (got 3)"),
    "a list for a section": ("frame", [1], "frame: input should be an object (got [1])"),
    "nothing for a section": ("batch", None, "batch: input should be an object (got None)"),
    "too small": ("batch.size", 0, "batch.size: input should be greater than or equal to 1"),
    "too large": ("camera.defect_share", 1.5, "camera.defect_share: input should be less than"),
    "not a number": ("logging.max_mb", float("nan"), "logging.max_mb: input should be a finite"),
    "infinite": ("logging.max_mb", float("inf"), "logging.max_mb: input should be a finite number"),
    "not a multiple": ("frame.input_px", [250, 256], "frame.input_px.0: input should be a mult"),
    "too short a pair": ("frame.input_px", [256], "frame.input_px.1: missing"),
    "neither member of a union": ("frame.size_px", "all", "frame.size_px: input should be"),
    "inside a member of a union": ("frame.size_px", [512, 1], "frame.size_px.1: input should be"),
    "unknown choice": ("frame.colour", "gray", "frame.colour: input should be 'grey' or 'rgb'"),
    "unknown kind": ("camera.kind", "lidar", "camera: input tag 'lidar'"),
    "a date for a number": ("line", "2026-11-22", "line: input should be a valid integer"),
    "a device that is none": ("model.device", "gpu", "model.device: string should match"),
    "an empty name": ("name", "", "name: string should have at least 1 character"),
    "a rule over two keys": ("timing.margin_ms", 2000, "timing: margin_ms must be smaller"),
    "a rule in a union": ("mqtt.broker", {"kind": "external", "host": "h", "port": 1,
                          "password_env": "P"}, "mqtt.broker: a password needs a user"),
}  # fmt: skip


def spoilt(data: dict[str, Any], key_path: str, value: Any) -> dict[str, Any]:
    *parents, last = key_path.split(".")
    section = data
    for key in parents:
        section = section.setdefault(key, {})
    section[last] = value
    return data


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_file_key_and_value(
    data: dict[str, Any], write: Callable[..., Path], name: str
) -> None:
    key_path, value, expected = MISTAKES[name]
    file = write(spoilt(data, key_path, value))
    text = complaint(file)
    assert text.startswith(f"{file}: ")
    assert expected in text


def test_a_password_in_the_file_is_refused_and_not_repeated(
    data: dict[str, Any], write: Callable[..., Path]
) -> None:
    broker = {"kind": "external", "host": "h", "port": 1, "user": "u", "password": "hunter2"}
    text = complaint(write(spoilt(data, "mqtt.broker", broker)))
    assert "mqtt.broker.password: a password never stands in this file; give password_env" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("name", MISTAKES)
def test_an_override_is_checked_like_the_file(name: str) -> None:
    key_path, value, expected = MISTAKES[name]
    assert expected in complaint(line_file(3), [(key_path, value)])


@pytest.mark.parametrize(
    "key_path",
    [
        "line",
        "data_folder",
        "camera",
        "camera.seed",
        "frame.input_px",
        "timing.deadline_ms",
        "mqtt",
    ],
)
def test_a_missing_key_is_named(
    data: dict[str, Any], write: Callable[..., Path], key_path: str
) -> None:
    *parents, last = key_path.split(".")
    section = data
    for key in parents:
        section = section[key]
    del section[last]
    text = complaint(write(data))
    assert "1 mistake\n" in text
    assert f"{key_path}: missing; this key has no default" in text


def test_a_union_without_kind_names_its_section(
    data: dict[str, Any], write: Callable[..., Path]
) -> None:
    del data["camera"]["kind"]
    assert "camera: " in complaint(write(data))


def test_all_mistakes_of_a_file_are_listed_at_once(
    data: dict[str, Any], write: Callable[..., Path]
) -> None:
    data["bacth"] = {"size": 4}
    data["camera"]["defect_share"] = 2
    data["frame"]["colour"] = "gray"
    data["timing"]["deadline_ms"] = "soon"
    data["mqtt"]["broker"]["port"] = 0
    del data["line"]
    file = write(data)
    text = complaint(file)
    assert text.startswith(f"{file}: 6 mistakes\n")
    for key in ("bacth", "camera.defect_share", "frame.colour", "timing.deadline_ms", "line"):
        assert f"\n  {key}: " in text
    assert "mqtt.broker.port: input should be greater than or equal to 1 (got 0)" in text


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    text = complaint(line_file(77))
    assert str(CONFIGS / "line_77.yaml") in text
    assert "has line_1.yaml, line_2.yaml, line_3.yaml. Copy one of them" in text
    nothing_to_copy = complaint(tmp_path / "line_7.yaml")
    assert nothing_to_copy == f"{tmp_path / 'line_7.yaml'}: no such configuration file"


def test_a_folder_or_foreign_bytes_in_place_of_the_file(tmp_path: Path) -> None:
    assert "cannot be read" in complaint(tmp_path)
    image = tmp_path / "image.yaml"
    image.write_bytes(bytes(range(256)))
    assert "cannot be read" in complaint(image)


def test_a_key_that_stands_twice_is_named_with_its_line(write: Callable[..., Path]) -> None:
    text = line_file(3).read_text(encoding="utf-8") + "\nname: again\n"
    line = len(text.splitlines())
    assert f"key 'name' is given twice (line {line})" in complaint(write(text))
    nested = line_file(3).read_text(encoding="utf-8").replace("seed: 3", "seed: 3\n  seed: 4")
    assert "key 'seed' is given twice" in complaint(write(nested))


@pytest.mark.parametrize(
    "text",
    [
        "line: [3",
        "line: 3\n\tname: x",
        "line: !!python/object/apply:os.system [ls]",
        "line: !!int three",
        "line: !!timestamp 2026-13-45",
        "line: \x07",
        "line: &a [*a]",
        "base: &base {seed: 1}\ncamera: {<<: *base}",
        "? [a]\n: b",
    ],
)
def test_what_is_no_plain_yaml_is_said_to_be_none(write: Callable[..., Path], text: str) -> None:
    assert "not valid YAML" in complaint(write(text))


@pytest.mark.parametrize("text", ["", "- line", "3", "just words"])
def test_a_file_that_is_no_mapping_is_refused(write: Callable[..., Path], text: str) -> None:
    assert "expected a mapping of keys to values" in complaint(write(text))


def test_values_that_json_does_not_know_are_refused(data: dict[str, Any]) -> None:
    data["camera"]["seed"] = {1, 2}
    with pytest.raises(ConfigError, match="not plain YAML data"):
        check_line(data, Path("x.yaml"))


def test_relative_paths_are_relative_to_the_file(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data["data_folder"], data["model"]["bundle"] = "../data", "bundle"
    data["calibration"]["folder"] = "/elsewhere/calibration"
    folder = tmp_path / "lines"
    folder.mkdir()
    file = folder / "line_7.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.chdir("/")
    config = load_line(file)
    assert config.data_folder == tmp_path / "data"
    assert config.model.bundle == folder / "bundle"
    assert config.calibration.folder == Path("/elsewhere/calibration")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_line(file, [("data_folder", "~/d")]).data_folder == Path("/home/somebody/d")


def test_overrides_replace_add_and_open_sections() -> None:
    config = load_line(
        line_file(3),
        [
            ("camera.rate_hz", 2),
            ("supervision.restarts", 1),
            ("frame.region", {"x": 0, "y": 0, "width": 64, "height": 32}),
            ("frame.region.x", 4),
        ],
    )
    assert config.camera.rate_hz == 2
    assert config.supervision.restarts == 1
    assert config.frame.region is not None
    assert (config.frame.region.x, config.frame.region.width) == (4, 64)


def test_an_override_below_a_value_is_refused() -> None:
    text = complaint(line_file(3), [("name.first", "x")])
    assert "--set name.first: name is a value, not a section" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera.rate_hz=2", ("camera.rate_hz", 2)),
        ("camera.rate_hz=null", ("camera.rate_hz", None)),
        ("name=a=b", ("name", "a=b")),
        ("name=2026-11-22", ("name", "2026-11-22")),
        ("frame.input_px=[64, 96]", ("frame.input_px", [64, 96])),
        (" batch.size =4", ("batch.size", 4)),
    ],
)
def test_set_reads_values_as_yaml(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["batch.size", "=4", " =4", "a=[1", "a=!!int x", "a={b: 1, b: 2}"])
def test_set_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_override(text)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_is_written_loads_as_the_same_configuration(number: int, tmp_path: Path) -> None:
    config = load_line(line_file(number), [("name", "Straße 4: ümläut # no comment")])
    file = tmp_path / "elsewhere" / "line.yaml"
    file.parent.mkdir()
    write_line(config, file)
    assert load_line(file) == config
    assert isinstance(load_line(file), LineConfig)
