"""Digests logs, one after the other, as long as there are any. `--is-alive` asks whether a worker does."""

import signal
import sys
from types import FrameType

from patterns import digest
from store import ALIVE, ALIVE_FOR, QUEUE, body_of, cache, keep

WAIT = 5


def main() -> int:
    if sys.argv[1:] == ["--is-alive"]:
        return 0 if cache().exists(ALIVE) else 1
    signal.signal(signal.SIGTERM, _stop)
    queue = cache()
    print("waiting for logs", flush=True)
    while True:
        queue.set(ALIVE, "yes", ex=ALIVE_FOR)
        # The number stays queued until its digest is kept: a worker that is killed loses nothing.
        number = queue.lindex(QUEUE, -1)
        if number is None:
            # Wakes when one comes, and leaves it where it is.
            queue.blmove(QUEUE, QUEUE, WAIT, "RIGHT", "RIGHT")
            continue
        _digest(int(number))
        queue.lrem(QUEUE, -1, str(number))


def _digest(log: int) -> None:
    body = body_of(log)
    if body is None:
        print(f"log {log} is gone", flush=True)
        return
    patterns = digest(body.splitlines())
    keep(log, patterns)
    print(f"log {log}: {sum(each.lines for each in patterns)} lines are {len(patterns)} patterns", flush=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
