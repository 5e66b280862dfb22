"""What strangers say at the broker: a forgery in good form, and nonsense that nothing reads."""

from __future__ import annotations

import random

import msgspec
import pytest

from chaos.faults.messages import forged, nonsense
from chaos_parts import SESSION, record
from pipeline.messages import Verdict
from plc.incoming import BadCommandError, read_command
from plc.payloads import VerdictPayload, verdict_payload


def test_a_forged_verdict_would_be_believed_if_it_came() -> None:
    genuine = verdict_payload(record(verdict=Verdict.REJECT))

    found = msgspec.json.decode(forged(genuine, 57), type=VerdictPayload)

    assert (found.sequence, found.verdict) == (57, Verdict.PASS)
    assert found.part_id.endswith("-000057")


def test_nonsense_is_no_command() -> None:
    drawn = random.Random(1)
    for _ in range(200):
        with pytest.raises(BadCommandError):
            read_command(nonsense(SESSION, drawn), 0)
