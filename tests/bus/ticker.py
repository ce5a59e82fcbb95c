"""A child process whose life can be seen: appends a line to a file every 20 ms.

Run as `python -I -S ticker.py FILE PREFIX SECONDS`.
"""

import os
import sys
import time

if __name__ == "__main__":
    path, prefix, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(handle, f"{time.monotonic()} {prefix} tick\n".encode())
        time.sleep(0.02)
