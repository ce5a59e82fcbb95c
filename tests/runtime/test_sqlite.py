"""A file of SQLite is its owner's alone, and those who read and write it do not stand in each other's way."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from libs.runtime import sqlite


@contextmanager
def opened(path: Path, *, durable: bool = True, patience: float = 0.05) -> Generator[Engine]:
    engine = sqlite.engine(sqlite.address(path), durable=durable, patience=patience)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """With a table of one row, in a folder whose name a URL would have to write in another way."""
    path = tmp_path / "a #1 %41?x=y" / "kept.db"
    with opened(path) as engine, engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (number INTEGER)"))
        connection.execute(text("INSERT INTO kept VALUES (0)"))
    assert path.exists()
    return path


def number(connection: Connection) -> int:
    return connection.execute(text("SELECT number FROM kept")).scalar_one()


def count_up(connection: Connection) -> None:
    connection.execute(text("UPDATE kept SET number = number + 1"))


def test_the_file_its_folder_and_its_log_are_for_their_owner_alone(tmp_path: Path):
    path = tmp_path / "own" / "kept.db"
    before = os.umask(0)
    try:
        with opened(path) as engine, engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept (number INTEGER)"))
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (path.parent, *path.parent.iterdir())}
    finally:
        os.umask(before)
    assert modes == {"own": 0o700, "kept.db": 0o600, "kept.db-wal": 0o600, "kept.db-shm": 0o600}


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_commits_wait_for_the_disk_where_they_have_to_last(path: Path, durable: bool, synchronous: int):
    with opened(path, durable=durable, patience=1.5) as engine, engine.begin() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "busy_timeout")]
        assert found == [synchronous, 1500]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_of_two_that_write_the_second_is_told_at_its_beginning_and_not_half_way(path: Path):
    with opened(path) as one, opened(path) as other:
        with one.begin() as first:
            seen = number(first)
            with pytest.raises(OperationalError, match="locked"), other.begin():
                pytest.fail("both write")
            count_up(first)
        with other.begin() as second:
            assert number(second) == seen + 1
            count_up(second)


def test_who_reads_sees_one_moment_and_keeps_nobody_from_writing(path: Path):
    with opened(path) as one, opened(path) as other, sqlite.reading(one).begin() as reader:
        seen = number(reader)
        with other.begin() as writer:
            count_up(writer)
            assert number(reader) == seen
        assert number(reader) == seen
    with opened(path) as engine, sqlite.reading(engine).begin() as later:
        assert number(later) == seen + 1


def test_of_many_that_are_first_to_open_a_file_each_gets_it(tmp_path: Path):
    """SQLite has them wait for no lock while one of them changes the file over to its log."""
    for turn in range(30):
        path, ready = tmp_path / f"{turn}.db", threading.Barrier(8)

        def first(path: Path = path, ready: threading.Barrier = ready) -> str:
            with opened(path, patience=30) as engine:
                ready.wait()
                with engine.begin() as connection:
                    return connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()

        with ThreadPoolExecutor(8) as several:
            assert {each.result() for each in [several.submit(first) for _ in range(8)]} == {"wal"}
