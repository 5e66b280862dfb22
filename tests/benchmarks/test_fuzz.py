"""A short campaign of malformed messages against a real line; a long one is `benchmarks.fuzz`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks import fuzz_port, fuzz_sparkplug
from benchmarks.fuzz import Campaign, own_settings, run_campaign
from benchmarks.fuzz_samples import TOPICS
from pipeline.config_file import line_file, load_line
from pipeline.line import CHANNELS

pytestmark = pytest.mark.slow
MESSAGES = 2000


def attacked(payload: str) -> Campaign:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        config = load_line(line_file(3), own_settings(folder, payload))
        return run_campaign(config, folder, MESSAGES, seed=20261122)


@pytest.mark.timeout(900)  # the processes of the line are started one after the other
def test_malformed_messages_at_every_socket_end_nothing_and_are_counted() -> None:
    campaign = attacked("json")
    assert campaign.violations == []
    assert {target.name for target in campaign.targets} == {
        *CHANNELS, "beat", "order", *TOPICS, fuzz_port.NAME,
    }  # fmt: skip
    assert {target.sent for target in campaign.targets} == {MESSAGES}
    assert sum(campaign.spoilt.values()) > 0
    assert campaign.table().count("\n") == len(campaign.targets)


@pytest.mark.timeout(900)
def test_malformed_sparkplug_ends_nothing_and_is_counted() -> None:
    campaign = attacked("sparkplug")
    assert campaign.violations == []
    assert {target.name: target.sent for target in campaign.targets} == dict.fromkeys(
        fuzz_sparkplug.MESSAGES, MESSAGES
    )
