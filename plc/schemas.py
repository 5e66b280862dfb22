"""JSON Schemas (2020-12) of the payloads: `python -m plc.schemas` writes them to docs/schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pipeline.control import Command
from plc.incoming import NEEDS, VALUES, AckPayload, CommandPayload
from plc.payloads import (
    HeartbeatPayload,
    RejectPayload,
    ResponsePayload,
    StatusPayload,
    UndeliveredPayload,
    VerdictPayload,
)

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
PAYLOADS: dict[str, type[msgspec.Struct]] = {
    "verdict": VerdictPayload,
    "reject": RejectPayload,
    "status": StatusPayload,
    "heartbeat": HeartbeatPayload,
    "undelivered": UndeliveredPayload,
    "command": CommandPayload,
    "response": ResponsePayload,
    "ack": AckPayload,
}
"""By the name of their topic."""


def schema_text(name: str) -> str:
    """The schema of a payload by its topic's name, as indented JSON."""
    schema: dict[str, Any] = msgspec.json.schema(PAYLOADS[name])
    if name == "command":
        schema["$defs"]["CommandPayload"]["allOf"] = [_values(command) for command in Command]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"MQTT {name}"}
    return msgspec.json.format(msgspec.json.encode({**head, **schema}), indent=2).decode() + "\n"


def _values(command: Command) -> dict[str, Any]:
    """That a command has the values that belong to it and no others, as a schema."""
    needed, empty = NEEDS.get(command, ()), {"type": "null"}
    values = {key: {"not": empty} if key in needed else empty for key in VALUES}
    return {
        "if": {"properties": {"command": {"const": command}}},
        "then": {"required": list(needed), "properties": values},
    }


def write_schemas(folder: Path = FOLDER) -> None:
    """Write one `<topic>.schema.json` per payload."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAYLOADS:
        (folder / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    write_schemas()
