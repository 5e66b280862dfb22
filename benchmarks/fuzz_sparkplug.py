"""What a line that speaks Sparkplug B is told, to be spoilt, and what it has to refuse of it."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.fuzz_samples import MOST_PAYLOAD, Refusal
from benchmarks.malformed import Frames, Malformed
from plc.incoming import BadCommandError
from plc.sparkplug.commands import (
    is_ack,
    read_device_ack,
    read_device_command,
    says_nothing,
    wants_rebirth,
)
from plc.sparkplug.edge_node import READ_BY_NODE
from plc.sparkplug.metrics import ACK, COMMAND, COMMAND_ID, POSITION, REBIRTH, SPEED
from plc.sparkplug.wire import DataSet, DataType, Metric, WireError, decode_payload, encode_payload

SECTION = {"group": "fuzz", "edge_node": "line"}
"""The line's section `mqtt.sparkplug`."""
MESSAGES = READ_BY_NODE
NOW_MS = 1_795_331_702_123
_LARGEST = 2**64


class SparkplugB:
    """A payload as `{"timestamp": ms, "metrics": [[name, value], ...]}`."""

    def read(self, data: bytes) -> Any:
        """As plain values. Raises WireError."""
        received = decode_payload(data)
        metrics = [[name, value] for name, value in received.values]
        return {"timestamp": received.timestamp_ms, "metrics": metrics}

    def write(self, value: Any) -> bytes:
        """As bytes, each value in the type that it has; a list or a mapping is an empty table."""
        entries = value if isinstance(value, dict) else {"metrics": [["value", value]]}
        time, metrics = entries.get("timestamp"), entries.get("metrics")
        pairs = metrics if isinstance(metrics, list) else [["metrics", metrics]]
        timestamp = time % _LARGEST if isinstance(time, int) else None
        return encode_payload([_metric(pair) for pair in pairs], timestamp, None)


def series(session: str, chance: random.Random) -> dict[str, Malformed]:
    """A series of spoilt messages for DCMD and for NCMD."""
    button = ((COMMAND_ID, "fuzz-1"), (f"{COMMAND}pause", True))
    recipe = ((COMMAND_ID, "fuzz-2"), (f"{COMMAND}select_recipe", "default"))
    belt = ((COMMAND_ID, "fuzz-3"), (POSITION, 412.04), (SPEED, 250.0))
    ack = ((f"{ACK}session", session), (f"{ACK}sequence", 1))
    device = [_written(*metrics) for metrics in (button, recipe, belt, ack)]
    node = [_written((REBIRTH, True))]
    sound = dict(zip(MESSAGES, ((device, node), (node, device)), strict=True))
    return {
        name: Malformed(chance, own, others, SparkplugB(), 0, MOST_PAYLOAD)
        for name, (own, others) in sound.items()
    }


def refusals() -> dict[str, Refusal]:
    """What DCMD and NCMD have to refuse."""
    return dict(zip(MESSAGES, (_no_command, _no_rebirth), strict=True))


def _no_command(frames: Frames) -> bool:
    data = b"".join(frames)
    if is_ack(data):
        return read_device_ack(data) is None
    try:
        return not says_nothing(data) and read_device_command(data, 0) is None
    except BadCommandError:
        return True


def _no_rebirth(frames: Frames) -> bool:
    try:
        return not wants_rebirth(b"".join(frames))
    except WireError:
        return True


def _written(*metrics: tuple[str, Any]) -> Frames:
    return [encode_payload([_metric(pair) for pair in metrics], NOW_MS, None)]


def _metric(pair: Any) -> Metric:
    name, value = pair if isinstance(pair, list | tuple) and len(pair) == 2 else ("", pair)
    match value:
        case bool():
            return Metric(str(name), DataType.BOOLEAN, value)
        case int():
            return Metric(str(name), DataType.UINT64, value % _LARGEST)
        case float():
            return Metric(str(name), DataType.DOUBLE, value)
        case str() | None:
            return Metric(str(name), DataType.STRING, value)
    return Metric(str(name), DataType.DATASET, DataSet((), (), ()))
