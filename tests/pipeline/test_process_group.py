"""Real processes: started in order, watched, killed when silent, restarted within a budget."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LineConfig
from pipeline.control import BatchCosts, Beat, StageLoad, StageReport
from pipeline.line import row_named
from pipeline.process_group import Loss, ProcessGroup, Worker
from pipeline.run_folder import RunFolder

MakeConfig = Callable[..., LineConfig]
Until = Callable[[Callable[[], object]], None]
SUPERVISION = {"restarts": 2, "window_s": 60.0, "start_timeout_s": 20.0, "silence_timeout_s": 5.0}


class Watch:
    """Processes of some rows of a line, watched with a clock that the test sets."""

    def __init__(self, config: LineConfig, names: tuple[str, ...], by_hand: frozenset[str]) -> None:
        self.now_s = 1000.0
        self.folder = RunFolder(config)
        self.folder.open()
        config.log_folder.mkdir(parents=True)
        self.group = ProcessGroup(
            config,
            [row_named(name) for name in names],
            by_hand,
            logging.getLogger("group"),
            clock=lambda: self.now_s,
        )

    def start(self) -> None:
        self.group.start_due(self.folder.config_file)

    def beat(self, worker: Worker, **changes: Any) -> None:
        """Note a sign of life as its process would give it."""
        pid = worker.process.pid if worker.process else 0
        fields: dict[str, Any] = {"ready": True, "pid": pid, "fault": "", **changes}
        beat = Beat(
            stage=worker.row.name,
            worker=worker.number,
            session=self.folder.session,
            capturing=False,
            received={},
            sent={},
            failed=0,
            damaged=0,
            dropped=0,
            resident_mb=1.0,
            report=StageReport(),
            **fields,
        )
        self.group.note(beat)

    def loss(self, until: Until) -> Loss:
        found: list[Loss] = []
        until(lambda: found.extend(self.group.losses()) or found)
        (loss,) = found
        return loss

    def close(self) -> None:
        self.group.kill()
        self.folder.close()


@pytest.fixture
def watch(make_config: MakeConfig) -> Iterator[Callable[..., Watch]]:
    watches: list[Watch] = []

    def start(
        *names: str, by_hand: tuple[str, ...] = (), changes: dict[str, Any] | None = None
    ) -> Watch:
        config = make_config({"supervision": SUPERVISION, **(changes or {})})
        watches.append(Watch(config, names, frozenset(by_hand)))
        return watches[-1]

    yield start
    for watched in watches:
        watched.close()


def test_a_row_is_as_many_processes_as_it_has_workers(watch: Callable[..., Watch]) -> None:
    watched = watch("preprocessing", changes={"stages.preprocessing": {"workers": 2}})
    assert [worker.name for worker in watched.group.workers] == ["preprocessing", "preprocessing.1"]
    watched.start()
    pids = {worker.process.pid for worker in watched.group.workers if worker.process}
    assert len(pids) == 2
    watched.start()
    assert pids == {worker.process.pid for worker in watched.group.workers if worker.process}
    assert not watched.group.all_ready()
    for worker in watched.group.workers:
        watched.beat(worker)
    assert watched.group.all_ready()
    watched.group.kill()
    assert watched.group.all_ended(["preprocessing"])


def test_a_process_waits_for_those_that_must_be_ready_before(watch: Callable[..., Watch]) -> None:
    watched = watch("recorder", "decision", by_hand=("decision",))
    recorder, decision = watched.group.workers
    watched.start()
    assert recorder.process is None
    watched.beat(decision, ready=False)
    watched.start()
    assert recorder.process is None
    watched.beat(decision)
    watched.start()
    assert recorder.process is not None


def test_a_stage_run_by_hand_is_watched_and_left_alone(watch: Callable[..., Watch]) -> None:
    watched = watch("preprocessing", by_hand=("preprocessing",))
    (worker,) = watched.group.workers
    watched.start()
    assert worker.process is None
    watched.beat(worker, pid=4711)
    assert watched.group.all_ready()
    watched.now_s += 1000
    assert watched.group.losses() == []
    assert watched.group.all_ended(["preprocessing"])


def test_a_process_that_never_gets_ready_is_killed(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    process = worker.process
    assert process is not None
    watched.now_s += 20.0
    assert watched.group.losses() == []
    watched.now_s += 0.1
    loss = watched.loss(until)
    assert (loss.worker, loss.cause) == (worker, "gave no sign of life for 20 s and was killed")
    assert process.poll() == -signal.SIGKILL
    assert worker.process is None


def test_a_ready_process_may_be_silent_only_so_long(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    watched.beat(worker)
    for _ in range(3):
        watched.now_s += 4.9
        watched.beat(worker)
        assert watched.group.losses() == []
    watched.now_s += 5.1
    assert watched.loss(until).cause == "gave no sign of life for 5 s and was killed"


def test_a_process_that_is_silent_is_named_long_before_it_is_killed(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    watched.now_s += 3
    assert (watched.group.losses(), watched.group.silent()) == ([], ""), "it is starting"
    watched.beat(worker)
    watched.now_s += 1.5
    assert (watched.group.losses(), watched.group.silent()) == ([], "")
    watched.now_s += 0.1
    assert watched.group.losses() == []
    assert watched.group.silent() == "no sign of life from preprocessing"
    watched.beat(worker)
    assert (watched.group.losses(), watched.group.silent()) == ([], "")
    watched.now_s += 5.1
    watched.loss(until)
    assert watched.group.silent() == "", "it is away now"


@pytest.mark.parametrize(
    ("row", "costs_ms"),
    [("preprocessing", ((1, 900.0), (8, 4000.0))), ("reconstruction", ((1, 500.0),))],
)
def test_a_stage_with_long_batches_may_be_silent_for_two_full_ones(
    row: str, costs_ms: BatchCosts, watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch(row)
    (worker,) = watched.group.workers
    watched.start()
    watched.beat(worker, load=StageLoad(costs_ms=costs_ms))
    watched.beat(worker, load=StageLoad())
    watched.now_s += 7.9
    assert (watched.group.losses(), watched.group.silent()) == ([], "")
    watched.now_s += 0.2
    assert watched.loss(until).cause == "gave no sign of life for 8 s and was killed"
    watched.start()
    watched.beat(worker)
    watched.now_s += 1.6
    assert (watched.group.losses(), bool(watched.group.silent())) == ([], True)


def test_a_beat_of_an_earlier_process_says_nothing_of_this_one(
    watch: Callable[..., Watch],
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    watched.beat(worker, pid=1)
    assert not worker.ready


def test_a_killed_process_is_noticed_and_started_again(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    first = worker.process
    assert first is not None
    watched.beat(worker)
    first.kill()
    loss = watched.loss(until)
    assert (loss.cause, loss.exit_code) == ("was killed by signal 9", -9)
    assert watched.group.may_restart(worker)
    assert not worker.ready
    watched.start()
    assert worker.process is not None
    assert worker.process.pid != first.pid
    assert worker.restarted == 1


def test_restarts_are_counted_within_the_window(watch: Callable[..., Watch]) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    assert watched.group.may_restart(worker)
    watched.now_s += 30
    assert watched.group.may_restart(worker)
    assert not watched.group.may_restart(worker)
    watched.now_s += 29
    assert not watched.group.may_restart(worker)
    watched.now_s += 2
    assert watched.group.may_restart(worker), "the first restart is out of the window"
    assert not watched.group.may_restart(worker)
    assert worker.restarted == 3


def test_the_last_words_of_a_process_are_the_cause(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("acquisition", changes={"camera.product": "porcelain"})
    (worker,) = watched.group.workers
    watched.start()
    watched.beat(worker, ready=False, fault="unknown product")
    loss = watched.loss(until)
    assert (loss.cause, loss.exit_code) == ("unknown product", 2)


def test_without_last_words_the_exit_code_is_the_cause(
    watch: Callable[..., Watch], until: Until, tmp_path: Path
) -> None:
    missing = {"model.bundle": str(tmp_path / "nothing")}
    watched = watch("decision", changes=missing)
    watched.start()
    loss = watched.loss(until)
    assert (loss.cause, loss.exit_code) == ("ended with exit code 3", 3)


def test_a_retired_process_ends_and_is_replaced_without_being_a_loss(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    first = worker.process
    assert first is not None
    watched.beat(worker)
    watched.group.retire(["preprocessing", "segmentation"])
    watched.beat(worker)
    assert not worker.ready, "what is to end does not count, whatever it says"
    until(lambda: watched.group.losses() == [] and worker.process is None)
    assert worker.restarted == 0
    watched.start()
    assert worker.process is not None
    assert worker.process.pid != first.pid
    watched.beat(worker)
    assert worker.ready


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has taken effect: the state after the name in parentheses is T."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_retired_process_that_does_not_end_is_killed(
    watch: Callable[..., Watch], until: Until
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    watched.start()
    process = worker.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(process.pid))  # else it may take the request to end first
    watched.group.retire(["preprocessing"])
    assert watched.group.losses() == []
    watched.now_s += 10.1
    until(lambda: watched.group.losses() == [] and worker.process is None)
    assert process.poll() == -signal.SIGKILL


def spend(watched: Watch) -> None:
    for worker in watched.group.workers:
        while watched.group.may_restart(worker):
            pass


def test_only_what_speaks_for_the_line_comes_back_after_a_pause(
    watch: Callable[..., Watch],
) -> None:
    watched = watch("decision", "preprocessing")
    decision, preprocessing = watched.group.workers
    spend(watched)
    assert not watched.group.rest(preprocessing, again=True)
    assert watched.group.rest(decision, again=False)
    assert (decision.resting, preprocessing.resting) == (True, False)
    assert decision.restarted == 3
    watched.now_s += 0.9
    watched.group.start_due(watched.folder.config_file, speaking=True)
    assert decision.process is None
    watched.now_s += 0.2
    watched.group.start_due(watched.folder.config_file, speaking=True)
    assert decision.process is not None
    assert preprocessing.process is None
    watched.beat(decision)
    assert (decision.ready, decision.resting) == (True, False)
    watched.now_s += 100
    assert not watched.group.may_restart(decision), "its budget begins anew when it is forgiven"
    assert not watched.group.rest(decision, again=False), "once more was allowed"


def test_each_pause_is_longer_up_to_a_limit_until_all_is_forgiven(
    watch: Callable[..., Watch],
) -> None:
    watched = watch("decision")
    (worker,) = watched.group.workers
    pauses_s = []
    for _ in range(8):
        assert watched.group.rest(worker, again=True)
        pauses_s.append(worker.rest_until_s - watched.now_s)
    assert pauses_s == [1, 2, 4, 8, 16, 32, 32, 32]
    watched.start()
    assert worker.process is None
    watched.group.forgive()
    watched.start()
    assert worker.process is not None
    assert watched.group.may_restart(worker)


def test_the_plc_is_lost_when_what_speaks_for_the_line_is_given_up(
    watch: Callable[..., Watch],
) -> None:
    watched = watch("decision", "preprocessing")
    decision, preprocessing = watched.group.workers
    preprocessing.given_up = True
    assert not watched.group.deaf()
    assert watched.group.rest(decision, again=True)
    assert not watched.group.deaf()
    decision.given_up = True
    assert watched.group.deaf()
    assert not decision.resting
    watched.group.forgive()
    assert not watched.group.deaf()


def test_what_was_given_up_is_started_again_only_when_forgiven(
    watch: Callable[..., Watch],
) -> None:
    watched = watch("preprocessing")
    (worker,) = watched.group.workers
    while watched.group.may_restart(worker):
        pass
    worker.given_up = True
    watched.start()
    assert worker.process is None
    watched.group.forgive()
    watched.start()
    assert worker.process is not None
    assert watched.group.may_restart(worker)
    assert watched.group.waiting_for() == "waiting for preprocessing"
    watched.beat(worker)
    assert watched.group.waiting_for() == ""
