"""Files of SQLite, opened in one way: a write-ahead log, so that reading and writing wait for each other in nothing."""

import sqlite3
import time
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
        connection.execute(f"PRAGMA busy_timeout={patience * 1000:.0f}")
        _use_a_log(connection, patience)
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")

    def begin(connection: Connection) -> None:
        # Those that will write begin as such: no upgrade of a lock can fail.
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'IMMEDIATE')}")

    event.listen(made, "connect", set_up)
    event.listen(made, "begin", begin)
    return made


def _use_a_log(connection: sqlite3.Connection, patience: float) -> None:
    """Of several that are first to open a file one changes it over, for which SQLite has the others not wait."""
    give_up = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as locked:
            if locked.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.005)


def reading(engine: Engine) -> Engine:
    """The same connections, for transactions that only read: each sees one moment, and keeps nobody from writing."""
    return engine.execution_options(**{_BEGIN: "DEFERRED"})
