"""The wire types: names, versions and texts that others rely on."""

from __future__ import annotations

import re
import typing

import msgspec
import numpy as np
import pytest

from pipeline.line import CHANNELS
from pipeline.messages import REASON_TEXT, LedgerLine, Message, Part, Reason

KINDS = [channel.kind for channel in CHANNELS.values()]


def test_a_part_has_a_name_fit_for_files_that_sorts_like_its_number() -> None:
    parts = [Part(3, "20261122-071502-3f9a", sequence) for sequence in (1, 9, 10, 999_999)]
    names = [part.part_id for part in parts]
    assert names[0] == "L3-20261122-071502-3f9a-000001"
    assert names == sorted(names)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in names)


def test_every_reason_has_a_text() -> None:
    assert set(REASON_TEXT) == set(Reason)
    assert all(REASON_TEXT.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.channel)
def test_every_array_field_is_declared_with_dtype_and_dimensions(kind: type[Message]) -> None:
    hints = typing.get_type_hints(kind)
    found = {name for name in kind.__struct_fields__ if hints[name] is np.ndarray}
    assert found == set(kind.arrays)
    for dtypes, dimensions in kind.arrays.values():
        assert all(np.dtype(name).name == name for name in dtypes.split("|"))
        assert 0 <= dimensions <= 3


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.channel)
def test_every_message_names_channel_and_version(kind: type[Message]) -> None:
    assert kind.__struct_config__.tag == f"{kind.channel}/1"
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.forbid_unknown_fields


def test_the_ledgers_lines_can_be_told_apart() -> None:
    kinds = typing.get_args(LedgerLine)
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert sorted(tags) == ["announced/1", "published/1", "session/1", "verdict/1"]
    decoder = msgspec.json.Decoder(LedgerLine)
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(b'{"schema":"verdict/2"}')
