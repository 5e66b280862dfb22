"""From a YAML file and `--set` options to a `LineConfig`, with every mistake named at once."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config import DEFAULT_RECIPE, LineConfig
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice in one mapping, and leaves dates as text."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            line = node.value[index][0].start_mark.line + 1
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice (line {line})"
            )
    return loader.construct_mapping(node, deep=True)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def line_file(number: int) -> Path:
    """The configuration file of a line by its number: `configs/line_N.yaml`."""
    return CONFIGS / f"line_{number}.yaml"


def load_line(path: Path, overrides: Sequence[tuple[str, Any]] = ()) -> LineConfig:
    """Read and check a line's configuration.

    `overrides` are (dotted key path, value) pairs that replace what the file says; they are
    checked like the file. Raises ConfigError that lists every mistake with file, key path, value
    and what was expected.
    """
    data = read_yaml(path)
    for key_path, value in overrides:
        _override(data, key_path, value, path)
    return check_line(data, path)


def check_line(data: dict[str, Any], path: Path) -> LineConfig:
    """Check a mapping as if it stood in `path`. Raises ConfigError."""
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: a value is not plain YAML data: {error}") from error
    try:
        config = LineConfig.model_validate_json(text, context={"folder": path.parent})
    except ValidationError as error:
        lines = [_explain(item, data) for item in error.errors()]
        noun = "mistake" if len(lines) == 1 else "mistakes"
        listing = "\n".join(f"  {line}" for line in lines)
        raise ConfigError(f"{path}: {len(lines)} {noun}\n{listing}") from error
    return config if config.recipe == DEFAULT_RECIPE else config.with_recipe(config.recipe)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping. Raises ConfigError."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError as error:
        raise ConfigError(_missing(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {data!r}")
    return data


def write_line(config: LineConfig, path: Path) -> None:
    """Write a configuration as run: complete, with absolute paths."""
    data = config.model_dump(mode="json")
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def parse_override(
    text: str, option: str = "--set", form: str = "key.path=value", example: str = "batch.size=4"
) -> tuple[str, Any]:
    """`key.path=value` as a pair, the value read as YAML. Raises ConfigError, which says what the
    `option` that it was given with expects.
    """
    key_path, sign, value = text.partition("=")
    if not sign or not key_path.strip():
        raise ConfigError(f"{option} {text}: expected {form}, for instance {example}")
    try:
        return key_path.strip(), yaml.load(value, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{option} {text}: the value is not valid YAML: {error}") from error


def _override(data: dict[str, Any], key_path: str, value: Any, path: Path) -> None:
    *parents, last = key_path.split(".")
    section = data
    for key in parents:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{path}: --set {key_path}: {key} is a value, not a section")
        section = inner
    section[last] = value


def _missing(path: Path) -> str:
    known = sorted(file.name for file in path.parent.glob("line_*.yaml"))
    missing = f"{path}: no such configuration file"
    if not known:
        return missing
    return f"{missing}; {path.parent} has {', '.join(known)}. Copy one of them to start a new line."


def _explain(item: ErrorDetails, data: dict[str, Any]) -> str:
    keys = _key_path(item["loc"], data)
    where = ".".join(keys) or "(the whole file)"
    if item["type"] == "extra_forbidden" and keys[-1] == "password":
        return f"{where}: a password never stands in this file; give password_env or password_file"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key; check the spelling against docs/configuration.md"
    if item["type"] == "missing":
        return f"{where}: missing; this key has no default"
    message = item["msg"].removeprefix("Value error, ")
    given = item["input"]
    shown = "" if isinstance(given, dict) else f" (got {given!r})"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}"


def _key_path(loc: tuple[int | str, ...], data: dict[str, Any]) -> list[str]:
    """The error's place as the user wrote it, without the names of union members."""
    keys: list[str] = []
    value: Any = data
    member_of: Any = None  # the section whose kind the last item of `loc` was
    for index, key in enumerate(loc):
        final = index == len(loc) - 1
        if isinstance(value, dict) and key == value.get("kind") and value is not member_of:
            member_of = value
            continue
        known = (isinstance(value, dict) and key in value) or (
            isinstance(value, list) and isinstance(key, int)
        )
        if not known and not (final and isinstance(value, dict)):
            continue
        keys.append(str(key))
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
    return keys
