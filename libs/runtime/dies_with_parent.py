"""Turns this process into another program that is killed the moment its parent dies, by kill -9 too.

Run as `python -I -S dies_with_parent.py PARENT ARGV...`: nothing of Python stays in memory. The kernel watches
the thread that started this process, so that must be one that lives as long as the parent: its main thread.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() == int(sys.argv[1]):  # else it died before the kernel was told to watch it
        os.execv(sys.argv[2], sys.argv[2:])
