"""docs/sparkplug.md against the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from pipeline.config import Mqtt
from pipeline.control import Command
from plc.schemas import PAYLOADS
from plc.sparkplug.edge_node import READ_BY_NODE, WRITTEN_BY_NODE, NodeTopics
from plc.sparkplug.metrics import WRITABLE, device_birth
from plc.topics import WRITTEN_BY_LINE

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "sparkplug.md").read_text(encoding="utf-8")
SAID = {"BOOLEAN": "Boolean", "STRING": "String", "DOUBLE": "Double", "UINT64": "UInt64"}


def configured():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return Mqtt(**yaml.safe_load(example)["mqtt"])


def test_the_example_is_a_configuration():
    assert configured().sparkplug.device == "inspection"


def test_page_names_every_topic_and_who_writes_it():
    rows = re.findall(r"^\| `(spBv1\.0/\S+)` \| (line|host)", PAGE, re.MULTILINE)
    names = configured().sparkplug
    found = {
        topic.replace("<group>", names.group)
        .replace("<edge_node>", names.edge_node)
        .replace("<device>", names.device): who
        for topic, who in rows
    }
    topics = NodeTopics(names)
    written = {topics.of(message): "line" for message in WRITTEN_BY_NODE}
    assert found == {**written, **{topics.of(message): "host" for message in READ_BY_NODE}}


def test_page_names_everything_that_can_be_written():
    rows = re.findall(r"^\| `((?:command|ack)/\S+)` \| (\w+) \| (.*?)\|$", PAGE, re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == {
        metric.name: SAID[metric.datatype.name] for metric in WRITABLE
    }
    commands = " ".join(text for name, _, text in rows if name.startswith("command/"))
    assert set(re.findall(r"`(\w+)`", commands)) == {command.value for command in Command}


def test_page_names_every_folder_and_the_columns_of_tables():
    folders = {metric.name.partition("/")[0] for metric in device_birth(None)}
    assert folders - {"command", "ack"} == set(WRITTEN_BY_LINE) <= set(PAYLOADS)
    for name in (*WRITTEN_BY_LINE, "x", "y", "width", "height", "area", "peak", "first", "last"):
        assert f"`{name}`" in PAGE
