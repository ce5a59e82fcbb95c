"""Where logs and their digests are kept, and how web and worker hand them to each other."""

import os
from typing import Any

import psycopg
import redis
from patterns import Pattern
from psycopg.rows import dict_row

QUEUE = "digest:waiting"
ALIVE = "digest:worker-alive"
ALIVE_FOR = 30  # seconds that a word of the worker counts


def database() -> psycopg.Connection[dict[str, Any]]:
    return psycopg.Connection[dict[str, Any]].connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row)


def cache() -> "redis.Redis":
    return redis.Redis.from_url(os.environ["CACHE_URL"], decode_responses=True, socket_timeout=15)


def paste(title: str, body: str) -> int:
    """The log's number. It is stored before it is queued: what is queued can always be found."""
    with database() as opened:
        row = opened.execute("insert into logs (title, body) values (%s, %s) returning id", (title, body)).fetchone()
    assert row is not None
    cache().lpush(QUEUE, row["id"])
    return int(row["id"])


def body_of(log: int) -> str | None:
    with database() as opened:
        row = opened.execute("select body from logs where id = %s", (log,)).fetchone()
    return row["body"] if row else None


def keep(log: int, patterns: list[Pattern]) -> None:
    """All at once, and safe to repeat."""
    with database() as opened, opened.transaction():
        opened.execute("delete from patterns where log = %s", (log,))
        with opened.cursor() as cursor:
            cursor.executemany(
                "insert into patterns (log, pattern, example, lines) values (%s, %s, %s, %s)",
                [(log, each.text, each.example, each.lines) for each in patterns],
            )
        total = sum(each.lines for each in patterns)
        opened.execute("update logs set digested_at = now(), lines = %s where id = %s", (total, log))


def overview(most: int = 20) -> list[dict[str, Any]]:
    """The last logs, newest first, each with its most frequent patterns.

    `found` is how many there are; `lines` is None while the worker has not got to it.
    """
    with database() as opened:
        logs = opened.execute(
            "select id, title, pasted_at::text, lines, (select count(*) from patterns where log = logs.id) as found "
            "from logs order by id desc limit %s",
            (most,),
        ).fetchall()
        for log in logs:
            log["patterns"] = opened.execute(
                "select pattern, example, lines from patterns where log = %s order by lines desc, pattern limit 12",
                (log["id"],),
            ).fetchall()
    return logs
