"""The reference of a line's configuration, generated from its schema.

python -m pipeline.config_reference > docs/configuration.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.config import LineConfig

INTRODUCTION = """\
# Configuration of a line

One YAML file is one line: `configs/line_3.yaml` is what `--line 3` runs, and `--config FILE` names
any other. Copy the file that is closest to your line; `configs/` has a simulated line (3), a folder
of images (1) and a network camera (2). This page is generated from the program's own schema.

- **Strict.** An unknown key, a wrong type, a value out of range or a required key that is missing
  stops the start, before any process runs, with exit code 2. All mistakes are listed at once, each
  with file, key path, value, and what was expected. Text is not taken for a number, nor 1 for true.
- **Required.** Physical facts have no default: keys marked **required** must be there. A section
  whose keys all have a default may be left out.
- **Paths.** A relative path is relative to the folder of the configuration file; `~` is your home.
- **Secrets.** No password and no key stands here: the file says where they are (`mqtt.broker`), and
  files that others on the machine may read are refused. See [plc.md](plc.md#broker-and-security).
- **One value for one run.** `--set key.path=value` replaces what the file says and is checked like
  the file: `run_line --line 3 --set camera.rate_hz=2 --set 'frame.input_px=[128, 128]'`.
- **Check.** `run_line --line 3 --check` checks file, model bundle, calibration, camera and broker,
  and starts nothing.
"""
_HEAD = "| key | value | default | meaning |\n|---|---|---|---|"


def reference() -> str:
    """The reference in Markdown: an introduction, and one table for each section."""
    schema = LineConfig.model_json_schema()
    sections: dict[str, list[str]] = {}
    for path, name in _sections(schema, schema, ""):
        sections.setdefault(name, []).append(path)
    parts = [INTRODUCTION, _section("## The line itself", schema, schema, "")]
    for name, paths in sections.items():
        node = schema["$defs"][name]
        heading = "## " + ", ".join(f"`{path}`" for path in paths) + _kind(node)
        parts.append(_section(heading, node, schema, paths[0]))
    return "\n".join(parts)


def _sections(node: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """(key path, name of its definition) of every section below a node, in reading order."""
    for key, entry in node["properties"].items():
        for name in _references(entry):
            inner = f"{path}.{key}" if path else key
            yield inner, name
            yield from _sections(schema["$defs"][name], schema, inner)


def _references(entry: dict[str, Any]) -> list[str]:
    options = [entry, *entry.get("oneOf", []), *entry.get("anyOf", [])]
    options += [entry["items"]] if entry.get("items") else []
    return [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]


def _kind(node: dict[str, Any]) -> str:
    kind = node["properties"].get("kind")
    return f" with `kind: {kind['const']}`" if kind else ""


def _section(heading: str, node: dict[str, Any], schema: dict[str, Any], path: str) -> str:
    required = node.get("required", [])
    rows = [
        f"| `{key}` | {_value(entry, f'{path}.{key}' if path else key)} "
        f"| {_default(entry, key in required)} | {_meaning(entry, schema)} |"
        for key, entry in node["properties"].items()
    ]
    return "\n".join([heading, "", node["description"], "", _HEAD, *rows, ""])


def _meaning(entry: dict[str, Any], schema: dict[str, Any]) -> str:
    """A key's own text, or that of the section that stands there."""
    if "description" not in entry:
        (name,) = _references(entry)
        entry = schema["$defs"][name]
    text: str = entry["description"]
    return text.replace("|", "\\|").replace("<", "&lt;")


def _default(entry: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    if "$ref" in entry:
        return "its defaults"
    return f"`{json.dumps(entry['default'])}`"


def _value(entry: dict[str, Any], path: str) -> str:
    """What may stand at a key, in words."""
    if "discriminator" in entry:
        kinds = " or ".join(f"`{kind}`" for kind in entry["discriminator"]["mapping"])
        return f"a section `{path}` with `kind` {kinds}"
    if "$ref" in entry:
        return f"a section `{path}`"
    if "anyOf" in entry:
        return " or ".join(_value(option, path) for option in entry["anyOf"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    return _simple(entry, path)


def _simple(entry: dict[str, Any], path: str) -> str:
    match entry["type"]:
        case "integer" | "number":
            noun = "whole number" if entry["type"] == "integer" else "number"
            return noun + _range(entry)
        case "array" if "prefixItems" not in entry:
            return f"a list, each {_value(entry['items'], path)}"
        case "array":
            height, width = (_value(item, path) for item in entry["prefixItems"])
            assert height == width, f"{path}: a pair of different things needs words of its own"
            return f"`[height, width]`, each a {height}"
        case "string":
            return "path" if entry.get("format") == "path" else "text" + _form(entry)
        case "boolean":
            return "`true` or `false`"
        case other:
            assert other == "null", f"{path}: no words for {other}"
            return "`null`"


def _range(entry: dict[str, Any]) -> str:
    lowest, above, highest = (entry.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    words = []
    if lowest is not None and highest is not None:
        words.append(f"{lowest:,} to {highest:,}")
    elif lowest is not None:
        words.append(f"{lowest:,} or more")
    elif above is not None:
        words.append(f"above {above:,}" + (f" up to {highest:,}" if highest is not None else ""))
    if "multipleOf" in entry:
        words.append(f"a multiple of {entry['multipleOf']}")
    return "".join(f", {word}" for word in words)


def _form(entry: dict[str, Any]) -> str:
    if "pattern" in entry:
        return f" of the form `{entry['pattern']}`".replace("|", "\\|")
    if "maxLength" in entry:
        return f", {entry['minLength']} to {entry['maxLength']} characters"
    return ", not empty" if "minLength" in entry else ""


if __name__ == "__main__":
    print(reference(), end="")
