"""Packets that are late or lost: how the cable decides, and a real one between two namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from random import Random

import pytest

from chaos.cable import CALM, MOST_WAITING, TUN, Cable, Disturbance, Transit

NUMBER = 250
HERE, THERE = f"10.214.{NUMBER}.1", f"10.214.{NUMBER}.2"
PORT = 7007
ECHO = """
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("0.0.0.0", 7007))
print("bound", flush=True)
while True:
    data, sender = end.recvfrom(2048)
    end.sendto(data, sender)
"""


def carried(transit: Transit, now_s: float) -> list[tuple[int, bytes]]:
    out: list[tuple[int, bytes]] = []
    transit.leave(now_s, lambda device, packet: out.append((device, packet)))
    return out


def test_a_calm_cable_carries_at_once_and_in_order() -> None:
    transit = Transit()
    for number in range(5):
        transit.enter(bytes([number]), number % 2, 1.0)
    assert carried(transit, 1.0) == [(number % 2, bytes([number])) for number in range(5)]


def test_a_late_packet_leaves_when_it_is_due() -> None:
    transit = Transit(Disturbance(delay_s=0.5))
    transit.enter(b"a", 1, 10.0)
    transit.enter(b"b", 0, 10.25)
    assert carried(transit, 10.25) == []
    assert transit.leave(10.25, lambda *_: None) == 0.25
    assert carried(transit, 10.5) == [(1, b"a")]
    assert carried(transit, 10.75) == [(0, b"b")]
    assert transit.leave(10.75, lambda *_: None) is None


def test_packets_overtake_where_their_delay_varies() -> None:
    transit = Transit(Disturbance(delay_s=0.1, spread_s=0.1), Random(3))
    for number in range(50):
        transit.enter(bytes([number]), 0, number / 1000)
    order = [packet[0] for _, packet in carried(transit, 1.0)]
    assert order != sorted(order)
    assert sorted(order) == list(range(50))


def test_so_many_packets_are_lost_as_asked() -> None:
    transit = Transit(Disturbance(loss=0.3), Random(1))
    for _ in range(2000):
        transit.enter(b"x", 0, 0.0)
    assert len(carried(transit, 0.0)) == pytest.approx(1400, abs=80)


def test_a_full_cable_and_one_that_is_down_lose_what_comes() -> None:
    transit = Transit()
    for _ in range(MOST_WAITING + 10):
        transit.enter(b"x", 0, 0.0)

    def refuse(_device: int, _packet: bytes) -> None:
        raise OSError("down")

    assert transit.leave(0.0, refuse) is None
    transit.enter(b"next", 0, 1.0)
    assert carried(transit, 1.0) == [(0, b"next")]


@pytest.fixture
def laid() -> Iterator[Cable]:
    """A cable to a namespace in which every datagram comes back."""
    if os.getuid() != 0 or not TUN.exists():
        pytest.skip("network namespaces and tun devices need root and /dev/net/tun")
    name = f"cable-{os.getpid()}"
    try:
        subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    echo = None
    try:
        cable = Cable("cable0", "cable0-b", name)
        for where, device, address in (((), "cable0", HERE), (("-n", name), "cable0-b", THERE)):
            ip = ["ip", *where]
            subprocess.run([*ip, "addr", "add", f"{address}/30", "dev", device], check=True)
            subprocess.run([*ip, "link", "set", device, "up"], check=True)
        command = ["ip", "netns", "exec", name, sys.executable, "-c", ECHO]
        echo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert echo.stdout is not None
        assert echo.stdout.readline() == "bound\n"
        yield cable
        cable.close()
        left = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
        assert "cable0" not in left
    finally:
        if echo is not None:
            echo.kill()
            echo.wait()
            assert echo.stdout is not None
            echo.stdout.close()
        subprocess.run(["ip", "netns", "del", name], check=True)


def round_trip_s(end: socket.socket, patience_s: float) -> float | None:
    """To the namespace and back; None where nothing came in so long."""
    sent = os.urandom(8)
    started_s = time.monotonic()
    end.settimeout(patience_s)
    end.sendto(sent, (THERE, PORT))
    try:
        while end.recv(64) != sent:
            pass
    except TimeoutError:
        return None
    return time.monotonic() - started_s


def test_a_real_cable_is_late_loses_and_recovers(laid: Cable) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((HERE, 0))
        assert round_trip_s(end, 10.0) is not None
        laid.disturb(Disturbance(delay_s=0.3))
        late_s = round_trip_s(end, 10.0)
        laid.disturb(Disturbance(loss=1.0))
        lost = round_trip_s(end, 0.5)
        laid.disturb(CALM)
        again_s = round_trip_s(end, 10.0)
    assert late_s is not None
    assert late_s >= 0.6
    assert lost is None
    assert again_s is not None


def test_a_cable_to_nowhere_says_so() -> None:
    if os.getuid() != 0 or not TUN.exists():
        pytest.skip("network namespaces and tun devices need root and /dev/net/tun")
    with pytest.raises(OSError, match="no-such-namespace"):
        Cable("cable1", "cable1-b", "no-such-namespace")
