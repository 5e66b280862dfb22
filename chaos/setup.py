"""The hall of a campaign, from its first file to the last one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from calibration.record import load_active
from chaos.brokers import LOOPBACK, Mosquitto, embedded_settings, free_port, plc_access
from chaos.checker import Checker
from chaos.fault import DISK_SIZE, Hall
from chaos.line import RunningLine
from chaos.network import Namespace, NotPossibleError
from chaos.plant import build_plant
from chaos.trial import wait_until_steady
from chaos.view import PlcView
from pipeline.config import LineConfig
from pipeline.errors import LineError
from pipeline.next_command import train_command
from stages.bundle_identity import stated_identity
from stages.decision.rule import DecisionRule

START_S = 60.0
MEASURED_PARTS = 150
MEASURED_S = 10.0


@contextmanager
def open_hall(broker_kind: str) -> Iterator[Hall]:
    """Broker, PLC and a line that is not started yet; all of it is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        stack.callback(shutil.rmtree, folder)
        broker, network = None, None
        port = free_port()
        if broker_kind == "mosquitto":
            network = _network(stack)
            inside = network.inside if network else ()
            host = network.line_host if network else LOOPBACK
            broker = Mosquitto(folder / "broker", host, port, inside)
        settings = broker.settings() if broker else embedded_settings(port)
        config = build_plant(folder, settings, 10.0)
        if broker is not None:
            broker.prepare(config.mqtt.topic_root)
            broker.start()
            stack.callback(broker.end)
        access = plc_access(config, folder / "broker")
        if network is not None:
            access = replace(access, host=network.plc_host)
        disk = _disk(stack, config.data_folder, folder / "elsewhere")
        view = PlcView(config, access)
        checker = Checker(config, view, _active_rule(config))
        line = RunningLine(config, folder)
        view.start()
        stack.callback(view.close)
        stack.callback(line.kill)
        yield Hall(config, folder, 10.0, line, view, checker, access, broker, network, disk)


def start_steady(hall: Hall, rate_hz: float | None) -> None:
    """Start the line and wait until it inspects. Raises LineError with what it said, if it does
    not.
    """
    hall.line.start(rate_hz)
    if not wait_until_steady(hall, START_S):
        said = (hall.folder / "output").read_text(encoding="utf-8", errors="replace")
        raise LineError(f"the line does not run after {START_S:g} s:\n{said[-3000:]}")


def measure_capacity(hall: Hall) -> float:
    """Parts per second that the line carries with all these faults' helpers beside it."""
    start_steady(hall, None)
    began_s, already = time.monotonic(), hall.view.scored
    hall.view.wait(lambda: hall.view.scored >= already + MEASURED_PARTS, MEASURED_S)
    rate = (hall.view.scored - already) / (time.monotonic() - began_s)
    if hall.line.stop() != 0 or rate <= 0:
        raise LineError("the line did not end in order after its throughput was measured")
    return rate


def _active_rule(config: LineConfig) -> DecisionRule:
    """What every PASS of this line must rest on."""
    bundle_id = stated_identity(config.model.bundle, train_command(config)).id
    record = load_active(config.calibration.folder, bundle_id, "")
    return DecisionRule(record.threshold, bundle_id, record.id)


def _network(stack: ExitStack) -> Namespace | None:
    """None where it is not possible; the kinds that need it say why."""
    number = 1 + os.getpid() % 250
    network = Namespace(f"chaos-{os.getpid()}", number)
    try:
        network.open()
    except NotPossibleError:
        return None
    stack.callback(network.close)
    return network


def _disk(stack: ExitStack, data: Path, elsewhere: Path) -> Path | None:
    """A small file system for the reject log; ledger and logs lie elsewhere. None without root."""
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", DISK_SIZE, "chaos", str(data)],
        capture_output=True,
        check=False,
    )
    for name in ("ledger", "log"):
        (elsewhere / name).mkdir(parents=True)
        (data / name).symlink_to(elsewhere / name)
    if mounted.returncode != 0:
        return None
    stack.callback(subprocess.run, ["umount", "--lazy", str(data)], check=True)
    return data
