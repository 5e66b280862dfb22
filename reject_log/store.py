"""The reject log's database: SQLite with one writer, the recorder, and any number of readers.

Write-ahead logging lets readers and the writer work at the same time. A killed writer loses
nothing that it has committed. A power cut may undo the last commits as a whole, rows and journal
position together, and the journal then brings them again: hence `durable` before segments go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pipeline.config import LineConfig
from pipeline.errors import InputError, LineError
from pipeline.journal import Segment
from pipeline.messages import Delivery, Part, PublishedNote, Reason, Verdict, VerdictRecord
from pipeline.sequences import Range, Sequences
from reject_log.rows import (
    DELIVERED,
    INSERT,
    MIGRATIONS,
    SCHEMA,
    SCHEMA_VERSION,
    UNDELIVERED,
    selected,
    to_record,
    to_row,
)

WRITE_TIMEOUT_S = 0.2
"""Short, since the recorder must go on beating while another program locks the database."""
READ_TIMEOUT_S = 5.0
_INT64 = range(-(2**63), 2**63)
_ALL = -1


@dataclass(frozen=True)
class Position:
    """How far a session's journal is read: up to byte `offset` of `segment`."""

    segment: Segment
    offset: int


def database_path(config: LineConfig) -> Path:
    """The database file of a line."""
    return config.data_folder / "reject_log.sqlite"


class Store:
    """The one connection that writes. Creates the database where there is none."""

    def __init__(self, path: Path) -> None:
        """Raises LineError that says what to do where the database cannot be used."""
        self._path = path
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=WRITE_TIMEOUT_S, isolation_level=None)
        try:
            with explained(path):
                self._prepare()
                self._inode = path.stat().st_ino
        except BaseException:  # whatever it was goes on; the connection must not stay open
            self._database.close()
            raise

    def record(
        self,
        records: Sequence[VerdictRecord],
        position: Position,
        announced: Sequence[Part] = (),
        published: Sequence[PublishedNote] = (),
    ) -> int:
        """Add parts, note what the broker said of those of the position's session, and move the
        journal's position, in one transaction; parts already there stay.

        Gives the number of records that no row can hold, which are left out. Raises LineError,
        and then nothing is written.
        """
        with explained(self._path):
            self._require_same_file()
            with self._transaction():
                refused = sum(not self._insert(record) for record in records)
                self._note_waiting(announced, records)
                self._note_delivery(position.segment.session, published)
                self._move(position)
        return refused

    def position(self, session: str) -> Position | None:
        """How far a session's journal is read, or None where it was never read."""
        with explained(self._path):
            row = self._database.execute(
                "SELECT segment, offset FROM journal WHERE session = ?", (session,)
            ).fetchone()
        return Position(Segment(session, row[0]), row[1]) if row else None

    def positions(self) -> dict[str, Position]:
        """How far each session's journal is read, of those that were ever read."""
        with explained(self._path):
            rows = self._database.execute("SELECT session, segment, offset FROM journal").fetchall()
        return {row[0]: Position(Segment(row[0], row[1]), row[2]) for row in rows}

    def waiting(self, session: str) -> int:
        """Number of announced parts of a session that have no verdict yet."""
        with explained(self._path):
            query = "SELECT count(*) FROM waiting WHERE session = ?"
            return int(self._database.execute(query, (session,)).fetchone()[0])

    def durable(self) -> bool:
        """Bring all commits to the disk; False where a reader is in the way of that just now."""
        with explained(self._path):
            row = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        busy, in_log, checkpointed = row
        return not busy and in_log == checkpointed

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _prepare(self) -> None:
        _require_known_version(self._database, self._path)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            version = _version(self._database)
            changes = [SCHEMA]
            if version:
                changes = [MIGRATIONS[number] for number in range(version, SCHEMA_VERSION)]
            for statement in ";".join(changes).split(";"):
                self._database.execute(statement)
            if version != SCHEMA_VERSION:
                self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:  # whatever it was goes on; half a transaction must not stay
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _require_same_file(self) -> None:
        if self._path.stat().st_ino != self._inode:
            raise LineError(f"reject log {self._path} was replaced; it will be opened again")

    def _insert(self, record: VerdictRecord) -> bool:
        row = to_row(record)
        if any(isinstance(value, int) and value not in _INT64 for value in row):
            return False
        self._database.execute(INSERT, row)
        return True

    def _note_waiting(self, announced: Sequence[Part], records: Sequence[VerdictRecord]) -> None:
        new = [(part.session, part.sequence) for part in announced if part.sequence in _INT64]
        self._database.executemany(
            "INSERT OR IGNORE INTO waiting SELECT ?1, ?2 WHERE NOT EXISTS "
            "(SELECT 1 FROM parts WHERE session = ?1 AND sequence = ?2)",
            new,
        )
        done = [(record.part.session, record.part.sequence) for record in records]
        self._database.executemany(
            "DELETE FROM waiting WHERE session = ? AND sequence = ?",
            [key for key in done if key[1] in _INT64],
        )

    def _note_delivery(self, session: str, published: Sequence[PublishedNote]) -> None:
        undelivered = Sequences(pair for note in published for pair in note.undelivered)
        delivered = Sequences(pair for note in published for pair in note.delivered)
        for statement, delivery, ranges in (
            (UNDELIVERED, Delivery.UNDELIVERED, undelivered.ranges),
            (DELIVERED, Delivery.DELIVERED, delivered.ranges),
        ):
            rows = [(delivery, session, *pair) for pair in ranges if _fits(pair)]
            self._database.executemany(statement, rows)

    def _move(self, position: Position) -> None:
        segment = position.segment
        self._database.execute(
            "INSERT OR REPLACE INTO journal (session, segment, offset) VALUES (?, ?, ?)",
            (segment.session, segment.number, position.offset),
        )


class ReadStore:
    """A connection that only reads; the line may run or not. Use it in a `with` statement."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where there is no log yet, LineError where it cannot be read."""
        if not path.exists():
            raise InputError(
                f"there is no reject log yet: {path} does not exist. Start the line with run_line; "
                "its first verdict creates the log."
            )
        self._path = path
        with explained(path):
            self._database = _open_for_reading(path)
            self._columns = selected(_version(self._database))

    def __enter__(self) -> ReadStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def each(
        self,
        since_wall_ns: int = 0,
        verdicts: Sequence[Verdict] = tuple(Verdict),
        limit: int | None = None,
        reason: Reason | None = None,
    ) -> Iterator[VerdictRecord]:
        """The newest `limit` parts decided since then, oldest first; of all reasons, or of one."""
        codes = [reason] if reason else list(Reason)
        query = (
            f"SELECT * FROM (SELECT {self._columns} FROM parts WHERE decided_wall_ns >= ? "
            f"AND verdict IN ({_marks(verdicts)}) AND reason IN ({_marks(codes)}) "
            "ORDER BY decided_wall_ns DESC, session DESC, sequence DESC LIMIT ?) "
            "ORDER BY decided_wall_ns, session, sequence"
        )
        maximum = _ALL if limit is None else limit
        with explained(self._path):
            for row in self._database.execute(query, (since_wall_ns, *verdicts, *codes, maximum)):
                yield to_record(row)

    def list(
        self,
        since_wall_ns: int = 0,
        verdicts: Sequence[Verdict] = tuple(Verdict),
        limit: int | None = None,
        reason: Reason | None = None,
    ) -> tuple[VerdictRecord, ...]:
        """What `each` gives, at once."""
        return tuple(self.each(since_wall_ns, verdicts, limit, reason))

    def find(self, part_id: str) -> VerdictRecord | None:
        """One part by its id, or None where the log does not have it."""
        session, _, sequence = part_id.partition("-")[2].rpartition("-")
        if not sequence.isdecimal() or int(sequence) not in _INT64:
            return None
        query = f"SELECT {self._columns} FROM parts WHERE session = ? AND sequence = ?"
        with explained(self._path):
            row = self._database.execute(query, (session, int(sequence))).fetchone()
            record = to_record(row) if row else None
        return record if record and record.part.part_id == part_id else None

    def counts(self, since_wall_ns: int = 0) -> Mapping[Verdict, int]:
        """Number of parts per verdict decided since then; verdicts that did not occur are 0."""
        query = "SELECT verdict, count(*) FROM parts WHERE decided_wall_ns >= ? GROUP BY verdict"
        with explained(self._path):
            found = dict(self._database.execute(query, (since_wall_ns,)).fetchall())
        return {verdict: found.get(verdict.value, 0) for verdict in Verdict}

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the database's and the disk's errors into LineErrors that say what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        raise LineError(f"reject log {path}: {error}; {_remedy(error)}") from error
    except ValueError as error:
        raise LineError(f"reject log {path}: a row is damaged: {error}; {_DAMAGED}") from error
    except OSError as error:
        raise LineError(f"reject log {path}: {error.strerror}; {_NO_ACCESS}") from error


_DAMAGED = (
    "move the file, with its -wal and -shm beside it, to another folder: the recorder starts a new "
    "one, and `sqlite3 FILE .recover` may save the old one's rows"
)
_NO_ACCESS = "check that the data folder exists and that the line's user may write there"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another program holds the database; close it there",
    sqlite3.SQLITE_LOCKED: "another program holds the database; close it there",
    sqlite3.SQLITE_FULL: "the disk is full; free space, for instance old images",
    sqlite3.SQLITE_IOERR: "the disk failed or is full; check it and its free space",
    sqlite3.SQLITE_READONLY: _NO_ACCESS,
    sqlite3.SQLITE_CANTOPEN: _NO_ACCESS,
    sqlite3.SQLITE_PERM: _NO_ACCESS,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


def _remedy(error: sqlite3.Error) -> str:
    primary_code = error.sqlite_errorcode & 0xFF
    return _REMEDIES.get(primary_code, f"this is {error.sqlite_errorname}; see the recorder's log")


def _open_for_reading(path: Path) -> sqlite3.Connection:
    try:
        return _opened(path, "mode=ro")
    except sqlite3.OperationalError as error:
        writer_is_away = not path.with_name(path.name + "-wal").exists()
        if not (_may_not_write(error) and writer_is_away and path.is_file()):
            raise
    # A reader who may not write into the folder cannot create the files that WAL needs. They are
    # missing, so nobody writes, and the database can be read as a file that does not change.
    return _opened(path, "immutable=1")


def _may_not_write(error: sqlite3.Error) -> bool:
    primary_code = error.sqlite_errorcode & 0xFF
    return primary_code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?{mode}"
    database = sqlite3.connect(address, uri=True, timeout=READ_TIMEOUT_S)
    try:
        _require_known_version(database, path)
        if _version(database) == 0:
            raise InputError(f"reject log {path} is empty: the recorder has not written to it yet")
    except BaseException:  # as in Store
        database.close()
        raise
    return database


def _version(database: sqlite3.Connection) -> int:
    with closing(database.execute("PRAGMA user_version")) as cursor:
        return int(cursor.fetchone()[0])


def _require_known_version(database: sqlite3.Connection, path: Path) -> None:
    version = _version(database)
    if version > SCHEMA_VERSION:
        raise LineError(
            f"reject log {path} has version {version}, and this software knows versions up to "
            f"{SCHEMA_VERSION}: it was written by a newer release. Use that release, or move the "
            "file aside to start a new log."
        )


def _fits(pair: Range) -> bool:
    return pair[0] in _INT64 and pair[1] in _INT64


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values)
