from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.engine_timing import (
    IN_FLIGHT,
    Plan,
    Timed,
    Way,
    engine_way,
    gpu_of,
    row_of,
    stream,
    stream_length,
    time_in_turns,
)
from benchmarks.hardware import MatrixProduct
from benchmarks.spread import Spread
from stages.bundle import load_bundle
from stages.inspector import Inspection, Inspector

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def inspector(tiny_line: Path) -> Inspector:
    return Inspector(load_bundle(tiny_line.parent / "bundle"), "cpu", "float32")


def timed(calls: list[list[float]], streams: list[float] | None = None) -> Timed:
    of_way = Timed(len(calls))
    of_way.calls, of_way.streams = calls, streams or []
    return of_way


def test_ways_take_turns_and_each_round_ends_with_streams_and_limit() -> None:
    order: list[str] = []
    ways = [
        Way("eager", 1, "float32", lambda: order.append("e")),
        Way("engine", 8, "bfloat16", lambda: order.append("8"), lambda n: order.append(f"*{n}")),
    ]
    plan = Plan((8,), rounds=2, repeats=3)
    found, limits = time_in_turns(ways, MatrixProduct(CPU, torch.float32, 32), plan)
    assert stream_length(plan) == 20
    assert order == [*["e", "8"] * 3, "*20"] * 2
    assert [[len(calls) for calls in of_way.calls] for of_way in found] == [[3, 3], [3, 3]]
    assert [len(of_way.streams) for of_way in found] == [0, 2]
    assert len(limits) == 2
    assert min(limits) > 0


def test_a_row_follows_from_the_times_of_its_rounds() -> None:
    eager = timed([[0.2, 0.1, 0.4], [0.2, 0.3, 0.3]])  # 10 and 5 images/s at its fastest
    engine = timed([[0.1, 0.2, 0.2], [0.1, 0.1, 0.1]])
    way = Way("engine", 4, "bfloat16", lambda: None)
    row = row_of(way, engine, eager, [4e9, 8e9], int(5e7), CPU, 123.0)
    assert row.images_per_second == Spread(30.0, 20.0, 40.0)
    assert row.x_eager == Spread(6.0, 4.0, 8.0)
    assert row.of_limit == Spread(0.375, 0.25, 0.5)
    assert row.batch_ms_p50 == pytest.approx(100)
    assert row.batch_ms_p99 == pytest.approx(np.percentile([100] * 4 + [200] * 2, 99))
    assert (row.batch, row.dtype, row.device, row.memory_mb) == (4, "bfloat16", "cpu", 123.0)
    assert row.threads == torch.get_num_threads()
    with_stream = timed(engine.calls, streams=[0.05, 0.04])
    row = row_of(way, with_stream, eager, [4e9, 8e9], int(5e7), CPU, 123.0)
    assert row.images_per_second.most == pytest.approx(100)
    assert row.batch_ms_p50 == pytest.approx(100)  # of a batch that is alone
    assert gpu_of(way, engine, Plan((4,), 2, 3)) == (None, None)


def test_a_stream_lands_every_batch_and_has_a_few_in_flight(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    flying = {"reconstructor": 0, "segmenter": 0}
    most = dict(flying)

    def watch(name: str) -> None:
        engine = getattr(inspector, name)
        submit, land = engine.submit, engine.land

        def submitting(*arrays: np.ndarray) -> object:
            flying[name] += 1
            most[name] = max(most[name], flying[name])
            return submit(*arrays)

        def landing(flight: object) -> object:
            flying[name] -= 1
            return land(flight)

        monkeypatch.setattr(engine, "submit", submitting)
        monkeypatch.setattr(engine, "land", landing)

    watch("reconstructor")
    watch("segmenter")
    images = np.zeros((2, 64, 64, 1), np.uint8)
    assert stream(inspector, images, 7) == 7
    assert flying == {"reconstructor": 0, "segmenter": 0}
    assert most == {"reconstructor": IN_FLIGHT + 1, "segmenter": IN_FLIGHT + 1}
    assert stream(inspector, images, 1) == 1


def test_the_way_of_the_engine_inspects_its_batch(inspector: Inspector) -> None:
    images = np.zeros((3, 64, 64, 1), np.uint8)
    way = engine_way(inspector, images)
    assert (way.name, way.batch, way.dtype, way.stream) == ("engine", 3, "float32", None)
    found = way.inspect()
    assert isinstance(found, Inspection)
    assert len(found.scores) == 3
