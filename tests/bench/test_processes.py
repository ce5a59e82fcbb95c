"""What the kernel says of processes."""

import os
import subprocess
import sys
import time
from collections.abc import Generator

import pytest

from bench import processes

STAT = "42 (a) (b) ) S 7 42 42 0 -1 4194304 10 20 0 0 100 50 25 5 20 0 3 0 99 1000 100"
ROLLUP = """55d0-7ffe ---p 00000000 00:00 0    [rollup]
Rss:                2048 kB
Pss:                1024 kB
Pss_Dirty:           512 kB
"""
BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
PARENT = f"""import subprocess, sys, time
subprocess.run([sys.executable, "-c", {BUSY!r}])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family() -> Generator[tuple[int, int]]:
    """A process with one child that lives and one, busy for 0.2 s, that has ended."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            yield parent.pid, child
        finally:
            parent.kill()
            os.kill(child, 9)


def test_a_name_with_brackets_and_blanks_hides_no_figure() -> None:
    assert processes.times_in(STAT) == processes.Times(7, 180 / processes.TICKS)


def test_memory_is_read_in_bytes() -> None:
    assert processes.sizes_in(ROLLUP) == (1024 * 1024, 2048 * 1024)


def test_a_tree_is_all_descendants_and_nobody_else() -> None:
    assert processes.below(1, {2: 1, 3: 2, 4: 9, 9: 0, 5: 3}) == [1, 2, 3, 5]


def test_a_child_counts_in_its_parents_memory(family: tuple[int, int]) -> None:
    parent, child = family
    usages = processes.usage(parent)
    assert [usage.pid for usage in usages] == [parent, child]
    assert all(0 < usage.pss <= usage.rss for usage in usages)


def test_the_work_of_a_child_that_ended_is_counted(family: tuple[int, int]) -> None:
    assert processes.processor_seconds(processes.tree(family[0])) >= 0.2


def test_waiting_costs_no_processor_time(family: tuple[int, int]) -> None:
    tree = processes.tree(family[0])
    before = processes.processor_seconds(tree)
    time.sleep(0.3)
    assert processes.processor_seconds(tree) - before < 0.2
