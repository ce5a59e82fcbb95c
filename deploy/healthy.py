"""Is the service in this container ready? Exit 0 if so: what the health checks of its containers run."""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection


def main() -> int:
    connection = HTTPConnection("127.0.0.1", int(os.environ["MACHETE_PORT"]), timeout=8)
    try:
        connection.request("GET", "/api/health")
        answer = connection.getresponse()
        told = answer.read(4000).decode(errors="replace")
    except OSError as problem:
        print(f"no answer: {problem}")
        return 1
    print(told)
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
