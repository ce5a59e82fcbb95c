"""Files of SQLite, opened in one way: a write-ahead log, so that reading and writing wait for each other in nothing."""

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event

_BEGIN = "sqlite_begin"


def address(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def engine(address: URL, *, durable: bool, patience: float) -> Engine:
    """For transactions that write; see `reading` for the others. A missing file is made, for its owner alone.

    `durable`: what is committed survives a power cut. Without it the newest transactions may be gone after one, and
    commits wait for no disk. `patience`: seconds for which another one's lock is waited for; then `OperationalError`.
    """
    if address.database:
        path = Path(address.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    made = create_engine(address, hide_parameters=True)

    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        # The driver begins transactions too late, and none for reading: `begin` does it.
        connection.isolation_level = None
        synchronous = "FULL" if durable else "NORMAL"
        for pragma in (f"busy_timeout={patience * 1000:.0f}", "journal_mode=WAL", f"synchronous={synchronous}"):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        # Those that will write begin as such: no upgrade of a lock can fail.
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'IMMEDIATE')}")

    event.listen(made, "connect", set_up)
    event.listen(made, "begin", begin)
    return made


def reading(engine: Engine) -> Engine:
    """The same connections, for transactions that only read: each sees one moment, and keeps nobody from writing."""
    return engine.execution_options(**{_BEGIN: "DEFERRED"})
