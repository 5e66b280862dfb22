"""THE table: that it fits together, and that what would not fit is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import LineConfig
from pipeline.line import (
    CHANNELS,
    TABLE,
    Row,
    onward,
    producers,
    row_named,
    rows,
    stages_after,
    table_faults,
)
from pipeline.wire import endpoint

MakeConfig = Callable[..., LineConfig]
SHARED = {"stages.segmentation": {"with": "reconstruction"}}
BOTH = "reconstruction+segmentation"
EXTERNAL = {"mqtt.broker": {"kind": "external", "host": "h", "port": 1883}}


def changed(name: str, **changes: tuple[str, ...]) -> tuple[Row, ...]:
    return tuple(replace(row, **changes) if row.name == name else row for row in TABLE)


def test_the_table_fits_together() -> None:
    assert table_faults() == []


WRONG = {
    "stage segmentation stands twice": (*TABLE, replace(row_named("segmentation"), consumes=())),
    "nobody produces evidence, which recorder waits for": changed("decision", produces=()),
    "announcement needs one stage that consumes it, it has []": changed(
        "decision", consumes=("failure", "result")
    ),
    "result needs one stage that consumes it, it has ['decision', 'extra']": (
        *TABLE,
        Row(name="extra", module="extra", consumes=("result",)),
    ),
    "recorder names pictures, which is no channel": changed(
        "recorder", consumes=("evidence", "pictures")
    ),
    "broker names verdict, which is no channel": changed("broker", produces=("verdict",)),
    "recorder starts after judgement, which is no stage": changed("recorder", after=("judgement",)),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_does_not_fit_is_named(fault: str) -> None:
    assert table_faults(WRONG[fault]) == [fault]


def test_an_empty_table_has_a_fault_for_each_channel() -> None:
    faults = table_faults(())
    for channel in CHANNELS:
        assert any(channel in fault for fault in faults)


def test_a_line_with_a_broker_of_its_own_runs_one_more_process(make_config: MakeConfig) -> None:
    assert [row.name for row in rows(make_config())] == [row.name for row in TABLE]
    without = [row.name for row in rows(make_config(EXTERNAL))]
    assert without == [row.name for row in TABLE if row.name != "broker"]


def test_rows_are_found_by_name() -> None:
    assert row_named("decision").module == "stages.decision.stage"
    with pytest.raises(KeyError, match="no stage 'judgement'; the table has broker, recorder"):
        row_named("judgement")


def test_producers_are_all_workers_of_all_stages_that_offer_a_channel(
    make_config: MakeConfig,
) -> None:
    config = make_config({"stages.preprocessing.workers": 2, "stages.segmentation.workers": 1})
    assert producers("captured", config) == [("acquisition", 0)]
    assert producers("prepared", config) == [("preprocessing", 0), ("preprocessing", 1)]
    assert producers("failure", config) == [
        ("segmentation", 0),
        ("reconstruction", 0),
        ("preprocessing", 0),
        ("preprocessing", 1),
        ("acquisition", 0),
    ]


def test_batches_and_capacities_come_from_the_configuration(make_config: MakeConfig) -> None:
    config = make_config({"batch": {"size": 3, "max_wait_ms": 7}, "stages.queue": 5})
    batches = {row.name: row.batch(config) for row in TABLE if row.batch is not None}
    assert set(batches) == {"reconstruction", "segmentation"}
    assert batches["reconstruction"] == config.batch
    after = batches["segmentation"]
    assert (after.size, after.max_wait_ms) == (3, 0)
    capacities = {name: channel.capacity(config) for name, channel in CHANNELS.items()}
    assert {capacities[name] for name in ("captured", "prepared", "reconstructed")} == {5}
    assert min(capacities[name] for name in ("announcement", "result", "failure")) >= 1000


def test_parts_go_from_stage_to_stage_until_the_verdict() -> None:
    ways = {row.name: onward(row) for row in TABLE}
    assert {name: way for name, way in ways.items() if way} == {
        "acquisition": "captured",
        "preprocessing": "prepared",
        "reconstruction": "reconstructed",
        "segmentation": "result",
    }
    after = {row.name: stages_after(row, TABLE) for row in TABLE}
    assert after["acquisition"] == ("preprocessing", "reconstruction", "segmentation", "decision")
    assert after["segmentation"] == ("decision",)
    assert after["decision"] == after["recorder"] == after["broker"] == ()


def test_only_evidence_may_be_dropped() -> None:
    assert [name for name, channel in CHANNELS.items() if channel.lossy] == ["evidence"]


def test_every_stage_can_report_its_failures_to_decision() -> None:
    for row in TABLE:
        if row.produces and row.name != "decision":
            assert "failure" in row.produces, row.name


def test_only_stages_with_networks_are_replaced_for_another_recipe() -> None:
    assert [row.name for row in TABLE if row.reloads] == ["segmentation", "reconstruction"]


def test_stages_that_share_processes_are_one_row(make_config: MakeConfig) -> None:
    config = make_config({**SHARED, "stages.reconstruction": {"workers": 3, "threads": 2}})
    table = rows(config)
    assert [row.name for row in table] == [
        *("broker", "recorder", "decision", BOTH, "preprocessing", "acquisition")
    ]
    both = row_named(BOTH, table)
    first, second = row_named("reconstruction"), row_named("segmentation")
    assert both.links == (first, second)
    assert (both.consumes, both.produces) == (first.consumes, ("result", "failure"))
    assert both.workers(config) == config.stages.reconstruction
    assert both.batch is not None
    assert both.batch(config) == config.batch
    assert both.reloads
    assert first.links == (first,)
    with pytest.raises(KeyError, match="no stage 'segmentation'; the table has broker"):
        row_named("segmentation", table)


def test_a_line_with_shared_processes_fits_together(make_config: MakeConfig) -> None:
    """Only the channel between the joined stages is gone, with both of its ends."""
    table = rows(make_config(SHARED))
    faults = table_faults(table)
    assert len(faults) == 2
    assert all("reconstructed" in fault for fault in faults)
    assert not any("reconstructed" in (*row.consumes, *row.produces) for row in table)


def test_parts_go_through_shared_processes_once(make_config: MakeConfig) -> None:
    config = make_config({**SHARED, "stages.reconstruction": {"workers": 2}})
    table = rows(config)
    assert stages_after(row_named("acquisition", table), table) == (
        *("preprocessing", BOTH, "decision"),
    )
    assert stages_after(row_named(BOTH, table), table) == ("decision",)
    assert onward(row_named(BOTH, table)) == "result"
    assert producers("result", config) == [(BOTH, 0), (BOTH, 1)]
    assert producers("reconstructed", config) == []


def test_every_socket_has_a_name_that_the_longest_run_folder_leaves_room_for(
    make_config: MakeConfig,
) -> None:
    config = make_config({**SHARED, "stages.reconstruction": {"workers": 64}})
    for row in rows(config):
        last = row.workers(config).workers - 1
        for channel in row.produces:
            address = endpoint(Path("/run"), row.name, last, channel)
            assert len(address.removeprefix("ipc:///run")) <= 40, address
