"""Several stages in one process: what one makes, the next one takes.

For `stages.segmentation.with: reconstruction`. A part saves its way through a socket, and there is
nothing to balance between two kinds of workers; the stages are the same objects as in processes of
their own.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from pipeline.control import LineOrder, StageReport
from pipeline.errors import DeviceError
from pipeline.line import AS_THEY_COME, Row
from pipeline.logs import part_extra
from pipeline.messages import Failure, Message
from pipeline.stage import OverlappingStage, Stage, StageContext, stage_fault


@dataclass(frozen=True)
class Link:
    """A stage of a chain, with its name in the table and the most parts that it takes at once."""

    name: str
    stage: Stage
    most: int


class Chain:
    """One stage made of several, in the order in which a part passes them.

    Only stages that do nothing by time, and report nothing of their own, can be chained.
    """

    def __init__(self, links: Sequence[Link], log: logging.Logger) -> None:
        assert len(links) > 1, "a chain of several stages"
        self._links, self._log = tuple(links), log
        self._opened = ExitStack()

    def open(self) -> None:
        """Open all, the first one first. Where one cannot be opened, those before it are closed."""
        with ExitStack() as opened:
            for link in self._links:
                link.stage.open()
                opened.callback(link.stage.close)
            self._opened = opened.pop_all()

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Through all stages. What the first one raises is raised, as by a stage alone."""
        first, *later = self._links
        yield from self._pass_on(first.stage.take(messages), later)

    def settle(self, wait: bool) -> Iterable[Message]:
        """What any of them has finished since, through those after it; with `wait`, all."""
        for number, link in enumerate(self._links, 1):
            if isinstance(link.stage, OverlappingStage):
                yield from self._pass_on(link.stage.settle(wait), self._links[number:])

    def _pass_on(self, made: Iterable[Message], links: Sequence[Link]) -> Iterator[Message]:
        """Messages through the stages that are left; failures leave the chain as they are."""
        if not links:
            yield from made
            return
        parts: list[Message] = []
        for message in made:
            if isinstance(message, Failure):
                yield message
            else:
                parts.append(message)
        link, *later = links
        for start in range(0, len(parts), link.most):
            yield from self._pass_on(self._take(link, parts[start : start + link.most]), later)

    def _take(self, link: Link, parts: Sequence[Message]) -> list[Message]:
        """A batch through a later stage; a fault costs the parts that cause it.

        What is taken here may have been begun with an earlier batch, so that the loop, which tries
        the parts of its own batch once more, would try the wrong ones. Raises DeviceError.
        """
        try:
            return list(link.stage.take(parts))
        except DeviceError:  # trying the parts one by one would meet the same device
            raise
        except Exception as error:  # the outermost loop around this stage
            self._log.exception("%s failed on %d parts", link.name, len(parts))
            if len(parts) == 1:
                failure = stage_fault(link.name, parts[0], error)
                self._log.error("%s", failure.text, extra=part_extra(failure.part))
                return [failure]
        return [message for part in parts for message in self._take(link, [part])]

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Nothing is due by time."""
        return ()

    def report(self) -> StageReport:
        """Nothing beyond the loop's counters."""
        return StageReport()

    def close(self) -> None:
        """Close all, the last one first, also where one of them fails in closing."""
        self._opened.close()


def build_stage(row: Row, context: StageContext) -> Stage:
    """The stage that a row's module builds; a chain where several rows were joined in it."""
    links = [
        Link(
            name=link.name,
            stage=importlib.import_module(link.module).build(context),
            most=(link.batch(context.config) if link.batch else AS_THEY_COME).size,
        )
        for link in row.links
    ]
    return links[0].stage if len(links) == 1 else Chain(links, context.log)
