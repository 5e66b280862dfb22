"""Verdicts on their way to the PLC: a short run with real processes, and the figures by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.verdict_figures import Backlog, Decided, Limits, backlog_of, figures
from benchmarks.verdicts import RATES, main
from calibration.record import save_and_activate
from calibration_records import calibration_record
from pipeline.messages import Verdict
from stages.bundle import load_bundle

ROOT = Path(__file__).resolve().parents[2]
MS = 1_000_000
HAS_MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def run_of(delays_ms, *, rate=100.0, late=(), reasons=()):
    """Figures of a run whose n-th verdict, from 1, comes so much after its decision."""
    period_ms = 1000 / rate
    ledger, arrivals = {}, {}
    for number, delay_ms in enumerate(delays_ms, 1):
        at_ms = 1000 + number * period_ms
        reason = dict(reasons).get(number, "BELOW_THRESHOLD")
        verdict = Verdict.UNINSPECTED if number in dict(reasons) else Verdict.PASS
        ledger[number] = Decided(
            verdict, reason, number in late, round((at_ms - 2) * MS), round(at_ms * MS)
        )
        if delay_ms is not None:
            arrivals[number] = [round((at_ms + delay_ms) * MS)]
    return figures(rate, len(ledger), ledger, arrivals, {})


def test_delays_run_from_the_decision_and_from_the_score():
    run = run_of([1.0] * 98 + [3.0, 9.0])

    assert run.after_decision_ms.p50 == 1.0
    assert run.after_decision_ms.most == 9.0
    assert run.after_score_ms.p50 == 3.0
    assert run.sent_rate == pytest.approx(100.0, abs=0.01)
    assert run.faults(Limits(5.0)) == []


def test_a_slow_percentile_is_a_fault_of_its_rate():
    (fault,) = run_of([1.0] * 90 + [6.0] * 10).faults(Limits(5.0))
    assert fault == "at 100 parts/s p99 from decision to reader is 6.00 ms, more than 5"


def test_what_is_not_heard_once_or_not_inspected_is_a_fault():
    run = run_of([1.0] * 100, late={4}, reasons=[(7, "DEADLINE")])
    text = " ".join(run.faults(Limits(5.0)))
    assert "1 of 100 verdicts were late" in text
    assert "not inspected: 1 DEADLINE" in text
    (fault,) = run_of([1.0] * 50 + [None] + [1.0] * 149).faults(Limits(5.0))
    assert fault == "at 100 parts/s 1 of 200 verdicts were never heard"


def test_a_verdict_that_comes_again_or_of_nobody_is_a_fault():
    ledger = {
        number: Decided(Verdict.PASS, "", False, number * 10 * MS, (number * 10 + 1) * MS)
        for number in range(1, 101)
    }
    arrivals = {number: [(number * 10 + 2) * MS] for number in range(1, 101)}
    arrivals[8].append(2000 * MS)
    arrivals[101] = [1012 * MS]
    text = " ".join(figures(100.0, 100, ledger, arrivals, {}).faults(Limits(5.0)))
    assert "1 of 100 verdicts were heard twice" in text
    assert "1 of 100 verdicts were heard of parts that nobody announced" in text


def test_a_backlog_is_what_was_sent_and_not_heard():
    assert backlog_of([10, 20, 30, 40], [15, 35, 36, 45]).most == 2
    assert backlog_of([10, 20], [10, 20]).most == 0


def test_a_backlog_that_grows_is_a_fault():
    """Each verdict comes 0.2 ms later than the one before: a reader that is too slow."""
    run = run_of([0.2 * number for number in range(1, 1001)], rate=1000.0)
    assert run.backlog.growth > 100
    faults = run.faults(Limits(1000.0))
    assert any("the backlog grew by" in fault for fault in faults)
    assert any("verdicts/s were heard" in fault for fault in faults)
    assert run_of([4.0] * 1000, rate=1000.0).backlog == Backlog(6, (6.0,) * 10)


def test_help_explains_what_is_measured(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "after decision:" in text
    assert ",".join(f"{rate:g}" for rate in RATES) in text


def test_a_machine_without_mosquitto_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.verdict_line.BROKER", "no-such-broker")
    assert main(["--rates", "20", "--seconds", "1"]) == 2
    assert "apt-get install mosquitto" in capsys.readouterr().err


def test_the_simulated_plc_reads_json_only(capsys):
    assert main(["--reader", "simulator", "--payload", "sparkplug"]) == 2
    assert "plc_simulator reads JSON only" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(HAS_MOSQUITTO is None, reason="needs a real broker: apt-get install mosquitto")
@pytest.mark.parametrize(
    ("payload", "reader"), [("json", "mqtt"), ("sparkplug", "mqtt"), ("json", "simulator")]
)
def test_every_verdict_of_a_real_decision_is_heard_once(payload, reader, tiny_line, tmp_path):
    folder = tmp_path / "line"
    shutil.copytree(tiny_line.parent, folder)
    bundle_id = load_bundle(folder / "bundle").id
    save_and_activate(folder / "calibration", calibration_record(bundle_id=bundle_id))
    report = tmp_path / "verdicts.json"
    command = [sys.executable, "-m", "benchmarks.verdicts", "--rates", "50", "--seconds", "1"]
    command += ["--config", str(folder / tiny_line.name), "--payload", payload]
    command += ["--reader", reader]
    command += ["--set", "timing.deadline_ms=60000", "--p99-limit-ms", "0.001"]
    command += ["--reject-share", "0.5", "--json", str(report)]

    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert report.exists(), result.stderr
    content = json.loads(report.read_text())
    assert (content["payload"], content["reader"]) == (payload, reader)
    (run,) = content["runs"]
    counts = {key: run[key] for key in ("unheard", "repeated", "late", "unexpected")}
    assert (run["parts"], set(counts.values()), run["uninspected"]) == (50, {0}, {})
    assert 0 < run["after_decision_ms"]["p50"] <= run["after_score_ms"]["p50"]
    assert run["cpu_ms"]["decision"] > 0
    assert result.returncode == 1  # no broker is as fast as this limit
    assert "ms, more than 0.001" in result.stderr
