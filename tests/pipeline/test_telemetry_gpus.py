"""GPUs through NVML: cards that tell less, go and come back, and drivers that are away or hang."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from pipeline.telemetry import (
    HANGING_S,
    LOOK_AGAIN_S,
    GpuReader,
    GpuReading,
    GpuWatch,
    Span,
    chosen_gpus,
    cuda_order,
    gpu_summary_text,
    gpu_text,
    read_gpu,
    slowing_reasons,
)

NOT_SUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
NO_FUNCTION = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
LOST = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
NO_DRIVER = pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
PATIENCE_S = 60.0

READING = GpuReading(
    name="NVIDIA H200",
    use_percent=37,
    memory_mb=1234.0,
    temperature_c=45,
    power_w=210.4,
    memory_total_mb=143771.0,
    power_limit_w=700.0,
    sm_clock_mhz=1980,
    memory_clock_mhz=3201,
    slowed_by=("power cap",),
    index=0,
)
MEMORY = SimpleNamespace(used=1_234_000_000, total=143_771_000_000)
ANSWERS: dict[tuple[Any, ...], Any] = {
    ("nvmlDeviceGetUUID",): "GPU-a0",
    ("nvmlDeviceGetName",): "NVIDIA H200",
    ("nvmlDeviceGetUtilizationRates",): SimpleNamespace(gpu=37, memory=9),
    ("nvmlDeviceGetMemoryInfo",): MEMORY,
    ("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU): 45,
    ("nvmlDeviceGetPowerUsage",): 210_400,
    ("nvmlDeviceGetEnforcedPowerLimit",): 700_000,
    ("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM): 1980,
    ("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM): 3201,
    ("nvmlDeviceGetCurrentClocksEventReasons",): pynvml.nvmlClocksEventReasonSwPowerCap,
    ("nvmlDeviceGetCurrentClocksThrottleReasons",): NO_FUNCTION,
}


class Card:
    """A GPU that answers as told; an error is raised, and `lost` makes everything raise."""

    def __init__(self, **changes: Any) -> None:
        self.answers = dict(ANSWERS)
        self.lost = False
        for name, answer in changes.items():
            self.answers[(f"nvmlDeviceGet{name}",)] = answer

    def answer(self, *question: Any) -> Any:
        answer = LOST if self.lost else self.answers[question]
        if isinstance(answer, pynvml.NVMLError):
            raise answer
        return answer


class FakeNvml:
    """The library over cards of our making: no machine of the tests has a GPU to unplug."""

    def __init__(self, *cards: Card) -> None:
        self.cards = cards
        self.opened = 0
        self.driver = threading.Event()  # opening it and a card hangs while this is not set
        self.driver.set()
        self.away = False

    def nvmlInit(self) -> None:  # noqa: N802 - the library's own name
        assert self.driver.wait(PATIENCE_S)
        if self.away:
            raise NO_DRIVER
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - the library's own name
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's own name
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802 - the library's own name
        assert self.driver.wait(PATIENCE_S)
        if self.away:
            raise NO_DRIVER
        if self.cards[index].lost:
            raise LOST
        return self.cards[index]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda card, *arguments: card.answer(name, *arguments)


def test_a_reading_has_every_figure_in_its_unit() -> None:
    assert read_gpu(FakeNvml(Card()), 0) == READING


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        (("nvmlDeviceGetName",), {"name": "GPU 0"}),
        (("nvmlDeviceGetUtilizationRates",), {"use_percent": None}),
        (("nvmlDeviceGetMemoryInfo",), {"memory_mb": None, "memory_total_mb": None}),
        (("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU), {"temperature_c": None}),
        (("nvmlDeviceGetPowerUsage",), {"power_w": None}),
        (("nvmlDeviceGetEnforcedPowerLimit",), {"power_limit_w": None}),
        (("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM), {"sm_clock_mhz": None}),
        (("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM), {"memory_clock_mhz": None}),
        (("nvmlDeviceGetCurrentClocksEventReasons",), {"slowed_by": None}),
    ],
)
def test_what_a_card_does_not_tell_costs_no_other_figure(
    question: tuple[Any, ...], missing: dict[str, Any]
) -> None:
    card = Card()
    card.answers[question] = NOT_SUPPORTED
    reading = read_gpu(FakeNvml(card), 0)
    assert reading == replace(READING, **missing)
    assert gpu_text(reading).count(", ") == gpu_text(READING).count(", ") - (
        "name" not in missing and "power_limit_w" not in missing
    )


def test_an_older_driver_has_another_name_for_what_slows_a_gpu() -> None:
    card = Card(
        CurrentClocksEventReasons=NO_FUNCTION,
        CurrentClocksThrottleReasons=pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    )
    assert read_gpu(FakeNvml(card), 0).slowed_by == ("overheating",)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (pynvml.nvmlClocksEventReasonNone, ()),
        (pynvml.nvmlClocksEventReasonGpuIdle, ()),
        (pynvml.nvmlClocksEventReasonSwPowerCap, ("power cap",)),
        (pynvml.nvmlClocksEventReasonSwThermalSlowdown | 1, ("thermal limit",)),
        (0x40 | 0x08, ("overheating", "hardware slowdown")),
        (0x4 | 1 << 40, ("power cap", "reason 0x10000000000")),
    ],
)
def test_what_slows_a_gpu_is_said_in_words(mask: int, words: tuple[str, ...]) -> None:
    assert slowing_reasons(mask) == words


def test_every_reason_of_the_library_has_its_word() -> None:
    known = pynvml.nvmlClocksEventReasonAll | pynvml.nvmlClocksThrottleReasonAll
    words = slowing_reasons(known)
    assert not [word for word in words if word.startswith("reason 0x")]
    assert len(set(words)) == known.bit_count() - 1  # all but the idle one


@pytest.mark.parametrize(
    ("visible", "order"),
    [
        (None, (0, 1, 2)),
        ("2,0", (2, 0)),
        ("GPU-b1, 0", (1, 0)),
        ("1,7,0", (1,)),
        ("GPU-,0", ()),
        ("MIG-4711", ()),
        ("", ()),
    ],
)
def test_cuda_numbers_gpus_as_the_environment_says(
    visible: str | None, order: tuple[int, ...]
) -> None:
    assert cuda_order(visible, ["GPU-a0", "GPU-b1", "GPU-c2"]) == order


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [
        (("auto",), (0, 1, 2)),
        (("cpu",), ()),
        (("openvino",), ()),
        (("cuda:0",), (2,)),
        (("cuda",), (2,)),
        (("cuda:0", "cpu", "cuda:1"), (0, 2)),
        (("cuda:2",), (0, 1, 2)),  # not a number of the order: all rather than none
    ],
)
def test_a_line_sees_the_gpus_that_it_uses(
    devices: tuple[str, ...], chosen: tuple[int, ...]
) -> None:
    assert chosen_gpus(devices, order=(2, 0), count=3) == chosen


def test_one_gpu_of_several_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(Card(), Card(Name="NVIDIA L4", UUID="GPU-b1"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu.index for gpu in GpuReader(nvml=nvml).read().readings] == [0, 1]
    (gpu,) = GpuReader("cuda:1", nvml=nvml).read().readings
    assert (gpu.name, gpu.index) == ("NVIDIA L4", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b1")
    (gpu,) = GpuReader("cuda:0", nvml=nvml).read().readings
    assert (gpu.name, gpu.index) == ("NVIDIA L4", 1)
    assert GpuReader("cpu", nvml=nvml).read() == ((), ())
    assert GpuReader("openvino", nvml=nvml).read() == ((), ())


def test_a_lost_gpu_costs_no_other_one_and_may_come_back() -> None:
    nvml = FakeNvml(Card(), Card())
    reader = GpuReader(nvml=nvml)
    nvml.cards[0].lost = True
    found = reader.read()
    assert [gpu.index for gpu in found.readings] == [1]
    assert found.faults == ("GPU 0: GPU is lost",)
    nvml.cards[0].lost = False
    assert [gpu.index for gpu in reader.read().readings] == [0, 1]


def test_the_library_is_opened_once_and_again_after_the_driver_was_away() -> None:
    nvml = FakeNvml(Card())
    reader = GpuReader(nvml=nvml)
    assert reader.read() == reader.read() == ((READING,), ())
    assert nvml.opened == 1
    nvml.away = True
    assert reader.read() == ((), ("GPU 0: Driver Not Loaded",))
    assert reader.read() == ((), ("the driver: Driver Not Loaded",))
    assert nvml.opened == 0
    nvml.away = False
    assert reader.read() == ((READING,), ())
    assert nvml.opened == 1
    reader.close()
    reader.close()
    assert nvml.opened == 0


def newest(watch: GpuWatch, now_s: float) -> tuple[GpuReading, ...]:
    """The readings at this time, those included that it made due."""
    watch.readings(now_s)
    watch.wait(PATIENCE_S)
    return watch.readings(now_s)


def test_gpus_are_looked_at_now_and_then() -> None:
    nvml = FakeNvml(Card())
    watch = GpuWatch("cuda:0", period_s=2.0, nvml=nvml)
    assert newest(watch, 10.0) == (READING,)
    nvml.cards[0].answers[("nvmlDeviceGetPowerUsage",)] = 650_000
    assert newest(watch, 11.9) == (READING,)
    assert newest(watch, 12.1) == (replace(READING, power_w=650.0),)


def test_a_driver_that_hangs_holds_nobody_up() -> None:
    nvml = FakeNvml(Card())
    nvml.driver.clear()
    watch = GpuWatch(nvml=nvml)
    assert watch.readings(0.0) == watch.readings(100.0) == ()
    nvml.driver.set()
    watch.wait(PATIENCE_S)
    assert watch.readings(100.0) == (READING,)


def test_what_a_driver_told_before_it_hung_is_not_told_as_of_now(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nvml = FakeNvml(Card())
    watch = GpuWatch(period_s=2.0, nvml=nvml)
    assert newest(watch, 0.0) == (READING,)
    nvml.driver.clear()
    assert watch.readings(2.0) == (READING,)
    late_s = 4.0 + HANGING_S
    assert watch.readings(late_s - 0.1) == (READING,)
    assert watch.readings(late_s) == watch.readings(late_s + 100.0) == ()
    assert [record.getMessage() for record in caplog.records] == [
        "the driver of the GPUs does not answer; no figures until it does"
    ]
    nvml.driver.set()
    watch.wait(PATIENCE_S)
    assert newest(watch, late_s + 100.0) == (READING,)


def test_a_gpu_that_goes_and_comes_back_is_said_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    nvml = FakeNvml(Card())
    watch = GpuWatch("cuda:0", period_s=2.0, nvml=nvml)
    assert newest(watch, 0.0) == (READING,)
    nvml.cards[0].lost = True
    assert newest(watch, 2.0) == ()
    assert newest(watch, 4.0) == ()  # due before it was known
    nvml.cards[0].lost = False
    assert newest(watch, 6.0) == ()
    assert newest(watch, 4.0 + LOOK_AGAIN_S) == (READING,)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ("WARNING", "no figures of GPU 0: GPU is lost"),
        ("INFO", "all GPUs answer again"),
    ]


def test_without_a_gpu_the_driver_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = GpuWatch("auto", nvml=FakeNvml())
    assert [newest(watch, now_s) for now_s in (0.0, 100.0, 200.0)] == [()] * 3
    assert watch.summaries() == ()
    assert [r.getMessage() for r in caplog.records] == ["no figures of GPUs: the driver shows none"]


def test_a_line_on_the_cpu_asks_for_no_gpu(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    nvml = FakeNvml(Card())
    assert newest(GpuWatch("cpu", nvml=nvml), 0.0) == ()
    assert nvml.opened == 0
    assert not caplog.records


def test_a_gpu_in_words() -> None:
    assert gpu_text(READING) == (
        "GPU 0 NVIDIA H200: 37 % used, 1234 of 143771 MB, 45 °C, 210 of 700 W, "
        "SM 1980 MHz, memory 3201 MHz, slowed by power cap"
    )
    assert gpu_text(replace(READING, slowed_by=())).endswith("memory 3201 MHz")
    assert gpu_text(GpuReading("NVIDIA T4", memory_mb=0.0, power_limit_w=70.0)) == "NVIDIA T4: 0 MB"
    assert gpu_text(GpuReading("NVIDIA T4")) == "NVIDIA T4: tells nothing"


def test_a_session_of_a_gpu_is_summed_up() -> None:
    card = Card()
    nvml = FakeNvml(card)
    card.answers[("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU)] = NOT_SUPPORTED
    watch = GpuWatch(nvml=nvml)
    course = ((210_400, 0), (690_000, 4), (NOT_SUPPORTED, 0), (240_000, 0))
    for turn, (milliwatts, slowing) in enumerate(course):
        card.answers[("nvmlDeviceGetPowerUsage",)] = milliwatts
        card.answers[("nvmlDeviceGetCurrentClocksEventReasons",)] = slowing
        newest(watch, 10.0 * turn)
    (summary,) = watch.summaries()
    assert summary.readings == 4
    assert summary.spans["power_w"] == Span(mean=pytest.approx(380.133, abs=1e-3), most=690.0)
    assert summary.spans["use_percent"] == Span(37.0, 37)
    assert "temperature_c" not in summary.spans
    assert summary.slowed_by == {"power cap": 0.25}
    assert gpu_summary_text(summary) == (
        "GPU 0 NVIDIA H200: 37 % (at most 37), 1234 MB (at most 1234), 380 W (at most 690), "
        "1980 MHz (at most 1980), slowed by power cap 25% of the time"
    )
