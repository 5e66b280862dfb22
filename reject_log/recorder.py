"""The recorder's process: follows the ledger's journal into the database, and stores pictures.

Decision never waits for it. Its journal is the queue: rows and the position up to which it is read
are committed together, so a kill on either side neither loses a part nor writes one twice. Where
the database cannot be written, or its disk is all but full, the line is DEGRADED with that cause,
the recorder tries again, and the journal keeps everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from pipeline.control import LineOrder, StageReport
from pipeline.errors import LineError
from pipeline.messages import Evidence, Message
from pipeline.stage import Stage, StageContext
from reject_log.follower import Chunk, finished_segments, next_chunk, unread_verdicts
from reject_log.images import ImageWriter, images_folder
from reject_log.reserve import LAST
from reject_log.store import Position, Store, database_path

LINES_PER_TICK = 500
READ_ON_NS = 25_000_000
"""They bound a tick to some ten milliseconds, with a pause behind it, so that beats, pictures and
the other processes get their turn."""
POLL_NS = 200_000_000
"""Pause between two looks at a journal that is read to its end."""
RETRY_NS = 1_000_000_000
ALARM_FROM = 2
"""Attempts that fail one after the other before the PLC hears of it: another program may hold the
database for a moment."""
TIDY_NS = 1_000_000_000
CLOSE_NS, MEND_NS, PAUSE_S = 7_000_000_000, 3_000_000_000, 0.2
"""At its end the recorder reads on for 7 s at most, and tries a failing database for 3 s: the
supervisor waits for 10 s."""


def build(context: StageContext) -> Stage:
    """The recorder of a line, as the table of processes names it."""
    return Recorder(context)


class Recorder:
    """Writes every verdict of the journal and the pictures that decision sends. No sockets.

    `damaged` counts the journal's lines that could not be read and were left out.
    """

    def __init__(
        self,
        context: StageContext,
        clock: Callable[[], int] = time.monotonic_ns,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._pause = clock, pause
        self._log = context.log
        self._session = context.session
        self._journal = context.config.ledger_folder
        self._database = database_path(context.config)
        self._images = ImageWriter(images_folder(context.config), context.log)
        self._store: Store | None = None
        self._at_end = self._caught_up = False
        self._problem = self._room = ""
        self._failures = 0
        self._next_look_ns = 0
        self._next_tidy_ns = 0
        self._positions: dict[str, Position] = {}
        self._unrecorded = 0
        self.damaged = 0

    def open(self) -> None:
        """Open the database; where that fails the recorder starts all the same and tries again."""
        self._images.clear_unfinished()
        self._attempt()

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Store the pictures of `Evidence` messages at once."""
        for message in messages:
            assert isinstance(message, Evidence), f"the recorder does not consume {message!r}"
            self._images.write(message)
        return ()

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Read on in the journal, at most `LINES_PER_TICK` lines."""
        if now_monotonic_ns < self._next_look_ns:
            return ()
        self._look_for_room()
        if not self._attempt():
            self._next_look_ns = now_monotonic_ns + RETRY_NS
        elif self._caught_up:
            self._next_look_ns = now_monotonic_ns + POLL_NS
            if now_monotonic_ns >= self._next_tidy_ns:
                self._next_tidy_ns = now_monotonic_ns + TIDY_NS
                self._tidy()
        else:
            self._next_look_ns = now_monotonic_ns + READ_ON_NS
        return ()

    def due_ns(self, now_monotonic_ns: int) -> int:
        """The next look at the journal."""
        return self._next_look_ns

    def report(self) -> StageReport:
        """Idle when the journal is read to its end; a warning while something cannot be stored,
        and an alarm where that are the verdicts, or will be.
        """
        warnings = [text for text in (self._problem, self._room, self._image_warning()) if text]
        alarm = self._problem if self._failures >= ALARM_FROM else self._room
        return StageReport(
            idle=self._at_end,
            warning=" ".join(warnings),
            alarm=alarm,
            unrecorded=self._unrecorded,
        )

    def close(self) -> None:
        """Read the journal to its end, and close. What a failing database does not take stays in
        the journal for the next start, and is counted.
        """
        self._read_to_the_end()
        if self._at_end:
            self._tidy()
        else:
            self._count_unrecorded()
        self._close_store()
        if self.damaged:
            self._log.warning("%d damaged lines of the journal were left out", self.damaged)

    def _read_to_the_end(self) -> None:
        began_ns = worked_ns = self._clock()
        while True:
            if self._attempt():
                worked_ns = self._clock()
            else:
                self._pause(PAUSE_S)
            now_ns = self._clock()
            if self._at_end or now_ns - began_ns > CLOSE_NS or now_ns - worked_ns > MEND_NS:
                return

    def _count_unrecorded(self) -> None:
        try:
            self._unrecorded = unread_verdicts(self._journal, self._positions)
        except OSError as error:
            self._log.error("journal: what is not recorded cannot be counted: %s", error)
        self._log.error(
            "%d verdicts are not in the reject log; they stay in the journal in %s, from which the "
            "next start of the line records them",
            self._unrecorded,
            self._journal,
        )

    def _attempt(self) -> bool:
        """Read one chunk; False, with the cause kept for the operator, where that failed."""
        try:
            if self._store is None:
                self._store = Store(self._database)
                self._positions = self._store.positions()
            self._read_on(self._store)
        except (LineError, OSError) as error:
            self._at_end = False
            self._complain(error)
            self._close_store()
            return False
        if self._problem:
            self._log.info("the reject log can be written again")
        self._problem, self._failures = "", 0
        return True

    def _read_on(self, store: Store) -> None:
        chunk = next_chunk(self._journal, self._session, store, LINES_PER_TICK)
        self._at_end = self._caught_up = chunk is None
        if chunk is not None:
            own = chunk.position.segment.session == self._session
            self._caught_up = own and not chunk.full
            refused = store.record(chunk.records, chunk.position, chunk.announced, chunk.published)
            self._positions[chunk.position.segment.session] = chunk.position
            self._note_damage(chunk, refused)

    def _note_damage(self, chunk: Chunk, refused: int) -> None:
        name = chunk.position.segment.file_name
        if chunk.restarted:
            self._log.warning("journal %s is shorter than it was; reading it again", name)
        for text in chunk.damaged:
            self._log.error("journal line left out: %s", text)
        if refused:
            self._log.error("journal %s: %d records hold impossible numbers", name, refused)
        self.damaged += len(chunk.damaged) + refused

    def _complain(self, error: LineError | OSError) -> None:
        text = f"{error} (verdicts wait in the journal and will be recorded later)"
        if text != self._problem:
            self._log.error("%s", text)
        self._problem = text
        self._failures += 1

    def _look_for_room(self) -> None:
        try:
            lack = LAST.lack(self._database.parent)
        except OSError:  # whether it can be written tells more
            lack = ""
        text = f"the reject log's disk is nearly full: {lack}; free space, for instance old images"
        if lack and not self._room:
            self._log.warning("%s", text)
        self._room = text if lack else ""

    def _image_warning(self) -> str:
        if not self._images.problem:
            return ""
        return (
            f"pictures of {self._images.failed} parts could not be stored: {self._images.problem}; "
            "free space on the disk or mend the images folder"
        )

    def _tidy(self) -> None:
        """Delete segments that nobody needs, once what was read from them is on the disk."""
        if self._store is None:
            return
        try:
            finished = finished_segments(self._journal, self._session, self._store)
            if not finished or not self._store.durable():
                return
            for segment in finished:
                (self._journal / segment.file_name).unlink(missing_ok=True)
                self._log.info("journal segment %s is recorded and deleted", segment.file_name)
        except (LineError, OSError) as error:
            self._log.warning("old journal segments stay for now: %s", error)

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
