from __future__ import annotations

import json
import logging
import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline.journal import Segment
from pipeline.messages import Defect, Delivery, Evidence, Reason, Stamp, Truth, Verdict
from reject_log.command import main
from reject_log.images import ImageWriter, images_folder
from reject_log.store import Position, Store, database_path

SESSION = "20261122-071502-3f9a"
MINUTE_NS = 60 * 1_000_000_000


def reject_log(config, *options, **environment):
    command = [sys.executable, "-m", "reject_log.command", "--line", "3"]
    command += ["--set", f"data_folder={config.data_folder}", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment or None
    )


@pytest.fixture
def in_process(config, capsys):
    """The command's exit code, output and error text, without the cost of a process."""

    def run(*options):
        arguments = ["--line", "3", "--set", f"data_folder={config.data_folder}", *options]
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def filled(config, make_record):
    """A log with 5 parts of the last minutes and one of yesterday; part 2 has pictures."""
    now = time.time_ns()

    def part(sequence, age_minutes=1, **changes):
        decided = now - age_minutes * MINUTE_NS + sequence
        return make_record(sequence, decided_wall_ns=decided, captured_wall_ns=decided, **changes)

    reject = {"verdict": Verdict.REJECT, "reason": Reason.ABOVE_THRESHOLD}
    late = {"verdict": Verdict.UNINSPECTED, "reason": Reason.DEADLINE, "score": None, "late": True}
    defects = (Defect(4, 5, 34, 12, 210, 0.97), Defect(50, 5, 3, 3, 9, 0.6))
    stamps = (
        Stamp("reconstruction+segmentation", 60_000_000, 92_500_000),
        Stamp("preprocessing", 10_000_000, 15_000_000),
    )
    records = [
        part(1),
        part(
            2,
            score=0.8312,
            defects=defects,
            stamps=stamps,
            has_images=True,
            recipe="cap_b",
            batch="B-7",
            encoder_position=412.04,
            reject_position=812.04,
            delivery=Delivery.DELIVERED,
            **reject,
        ),
        part(3, latency_ms=2010.4, text="no result from segmentation", **late),
        part(4, score=0.50000001, truth=Truth(True, "scratch"), **reject),
        part(5),
        part(6, age_minutes=24 * 60, **reject),
    ]
    store = Store(database_path(config))
    store.record(records, Position(Segment(SESSION, 1), 1))
    store.close()
    view = np.full((40, 60, 1), 77, np.uint8)
    pixels = np.zeros((32, 32), np.float16)
    writer = ImageWriter(images_folder(config), logging.getLogger("recorder"))
    writer.write(Evidence(records[1].part, Verdict.REJECT, defects, view, view, pixels))
    return records


def test_no_log_yet_is_friendly_and_exit_2(config):
    answer = reject_log(config)
    assert answer.returncode == 2
    assert "there is no reject log yet" in answer.stderr
    assert "run_line" in answer.stderr
    assert answer.stdout == ""


def test_the_table_lists_rejects_and_uninspected_parts_of_the_last_hours(config, filled):
    answer = reject_log(config)
    assert answer.returncode == 0, answer.stderr
    heading, second, third, fourth, total = answer.stdout.splitlines()
    columns = ["TIME", "PART", "VERDICT", "REASON", "SCORE", "DEFECT", "LATENCY"]
    assert heading.split() == [*columns, "RECIPE", "BATCH", "PLC", "IMAGE"]
    assert second[heading.index("RECIPE") :].split()[:3] == ["cap_b", "B-7", "delivered"]
    assert third[heading.index("RECIPE") :].split()[:3] == ["default", "-", "-"]
    for line, record in ((second, filled[1]), (third, filled[2]), (fourth, filled[3])):
        assert line[heading.index("PART") :].startswith(record.part.part_id)
        assert line[heading.index("VERDICT") :].startswith(record.verdict)
        assert line[heading.index("REASON") :].startswith(record.reason)
    assert "0.8312 > 0.5 " in second
    assert "34x12 px +1" in second
    assert second.endswith(f"{filled[1].part.part_id}_heat.jpg")
    assert "2010 ms" in third
    assert third.endswith(" -")
    assert "0.50000001 > 0.5 " in fourth
    assert "5 parts since" in total
    assert "2 PASS, 2 REJECT, 1 UNINSPECTED; reject rate 60.00 %" in total


def test_the_table_shows_local_time(config, filled):
    decided_s = filled[1].decided_wall_ns // 10**9
    for zone, shift_h in (("UTC0", 0), ("XYZ-5", 5)):
        local = time.gmtime(decided_s + shift_h * 3600)
        answer = reject_log(config, TZ=zone)
        assert time.strftime("%Y-%m-%d %H:%M:%S", local) in answer.stdout.splitlines()[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--since", "2d"], [6, 2, 3, 4]),
        (["--since", "2d", "--limit", "2"], [3, 4]),
        (["--verdict", "PASS"], [1, 5]),
        (["--verdict", "REJECT"], [2, 4]),
        (["--reason", "DEADLINE"], [3]),
        (["--reason", "BELOW_THRESHOLD"], [1, 5]),
        (["--verdict", "PASS", "--reason", "DEADLINE"], []),
    ],
)
def test_filters_in_json(in_process, filled, options, expected):
    code, out, _ = in_process("--json", *options)
    assert code == 0
    listed = [json.loads(line) for line in out.splitlines()]
    assert [entry["part"]["sequence"] for entry in listed] == expected


def test_json_has_the_whole_record_and_its_pictures(config, filled):
    lines = reject_log(config, "--json").stdout.splitlines()
    entry = json.loads(lines[0])
    assert entry["part_id"] == filled[1].part.part_id
    assert entry["score"] == 0.8312
    assert entry["threshold"] == 0.5
    assert entry["defects"][0]["area_px"] == 210
    assert (entry["recipe"], entry["batch"], entry["delivery"]) == ("cap_b", "B-7", "delivered")
    assert (entry["encoder_position"], entry["reject_position"]) == (412.04, 812.04)
    assert set(entry["images"]) == {"frame", "reconstruction", "heat"}
    assert all(path.startswith(str(config.data_folder)) for path in entry["images"].values())
    assert json.loads(lines[1])["images"] == {}


def test_a_short_table_says_that_there_is_more(in_process, filled):
    lines = in_process("--limit", "1")[1].splitlines()
    assert filled[3].part.part_id in lines[1]
    assert lines[2] == "(the newest 1 only; --limit 0 shows all)"
    for most in ("0", "1000000000000"):
        assert len(in_process("--limit", most)[1].splitlines()) == 5


def test_nothing_to_list_is_said_with_the_totals(in_process, filled):
    lines = in_process("--since", "5s")[1].splitlines()
    assert lines[0].startswith("no REJECT or UNINSPECTED parts since ")
    assert "0 parts since" in lines[1]
    assert "reject rate -" in lines[1]


def test_one_part_for_an_auditor(config, filled):
    answer = reject_log(config, "--part", filled[1].part.part_id)
    assert answer.returncode == 0, answer.stderr
    for text in (
        "REJECT",
        "score above the calibrated threshold",
        "0.8312",
        "c" * 12,
        "b" * 12,
        "Recipe        cap_b",
        "Batch         B-7",
        "Encoder       412.040 (in the encoder's units)",
        "At the gate   812.040 (in the encoder's units)",
        "To the PLC    delivered: the broker has confirmed it",
        "at (4, 5), 34x12 px, area 210 px, peak 0.97",
        "_frame.png",
        "_reconstruction.jpg",
        "_heat.jpg",
    ):
        assert text in answer.stdout
    stages = [line.split() for line in answer.stdout.splitlines() if " took " in line]
    assert [(words[0], words[2], words[5], words[8]) for words in stages] == [
        ("preprocessing", "0.0", "5.0", "5.0"),
        ("reconstruction+segmentation", "50.0", "82.5", "32.5"),
    ]


def test_one_part_without_pictures_or_score(in_process, filled):
    text = in_process("--part", filled[2].part.part_id)[1]
    assert "no result before the part's deadline" in text
    assert "no result from segmentation" in text
    assert "(late: after the deadline)" in text
    assert "not kept for this part" in text


def test_one_part_as_json(in_process, filled):
    _, out, _ = in_process("--part", filled[3].part.part_id, "--json")
    assert json.loads(out)["truth"] == {"defective": True, "kind": "scratch"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--part", "L3-unknown-000001"], "has no such part"),
        (["--since", "yesterday"], "expected an age"),
        (["--limit", "-1"], "expected a number of parts"),
        (["--limit", "99999999999999999999"], "expected a number of parts up to 1000000000000"),
        (["--reason", "RUST"], "invalid choice"),
        (["--set", "nothing=1"], "unknown key"),
    ],
)
def test_wrong_arguments_are_exit_2(in_process, filled, options, text):
    code, out, error = in_process(*options)
    assert code == 2
    assert text in error
    assert out == ""


def test_a_damaged_log_is_exit_1_with_advice(config):
    database_path(config).parent.mkdir(parents=True)
    database_path(config).write_bytes(b"no database at all " * 500)
    answer = reject_log(config)
    assert answer.returncode == 1
    assert "to another folder" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_reader_that_stops_early_is_no_error(config, make_record):
    store = Store(database_path(config))
    now = time.time_ns()
    rejects = [
        make_record(n, verdict=Verdict.REJECT, decided_wall_ns=now, text="x" * 1000)
        for n in range(1, 500)
    ]
    store.record(rejects, Position(Segment(SESSION, 1), 1))
    store.close()
    command = [sys.executable, "-m", "reject_log.command", "--line", "3", "--json"]
    command += ["--set", f"data_folder={config.data_folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b'{"part_id":')
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
