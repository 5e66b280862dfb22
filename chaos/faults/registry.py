"""Every kind of fault, in the order of the documentation."""

from __future__ import annotations

from chaos.fault import Kind
from chaos.faults import broker, disk, inside, messages, model, network, processes


def all_kinds(embedded: bool) -> list[Kind]:
    """The kinds of a campaign, with the line's `embedded` broker or with a real one."""
    return [
        *processes.kinds(embedded),
        *broker.kinds(),
        *network.kinds(),
        *model.kinds(),
        *messages.kinds(),
        *disk.kinds(),
        *inside.kinds(),
    ]
