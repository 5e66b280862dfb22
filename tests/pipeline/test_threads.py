"""A process of a line bounds its libraries alike, whoever starts it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pipeline import stage_loop
from pipeline.config import LineConfig
from pipeline.config_file import write_line
from pipeline.run_folder import CONFIG_FILE, SESSION_FILE
from pipeline.threads import thread_environment


def test_waiting_threads_sleep() -> None:
    assert thread_environment(3) == {
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


@pytest.mark.usefixtures("root_log")
def test_a_stage_that_is_started_by_hand_has_them_too(
    make_config: Callable[..., LineConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndedError(Exception):
        """In place of the stage's work."""

    def build(*_arguments: object) -> None:
        raise EndedError

    config = make_config({"stages.reconstruction": {"threads": 3}})
    write_line(config, config.run_dir / CONFIG_FILE)
    (config.run_dir / SESSION_FILE).write_text("s")
    for name in thread_environment(1):
        monkeypatch.setenv(name, "as it was")  # and is again after the test
    monkeypatch.setattr(stage_loop, "build_stage", build)
    with pytest.raises(EndedError):
        stage_loop.main(
            ["--config", str(config.run_dir / CONFIG_FILE), "--stage", "reconstruction"]
        )
    for name, value in thread_environment(3).items():
        assert os.environ[name] == value
