"""`python3 -m deploy.setup [STEP]`: exit 0 when done, 1 on a failure, 3 when a person must act first."""

from __future__ import annotations

import sys

# Older Pythons must be able to read this file, to be told so: no newer syntax above the next line.
if sys.version_info < (3, 11):  # noqa: UP036
    found = sys.version.split()[0]
    sys.exit("set-up needs Python 3.11 or newer, this is " + found + ": run `make PYTHON=/path/to/python3.11 ...`")

from deploy.setup.steps import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
