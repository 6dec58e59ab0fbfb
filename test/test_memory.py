"""Memory that was freed is used again: nothing is asked of the kernel a second time."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from hybridnet_ros import memory

keep, size = sys.argv[1], int(sys.argv[2]) << 20
assert keep == "none" or getattr(memory, keep)(), "not taken by this C library"


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


bytearray(size)
before = faults()
for _ in range(10):
    bytearray(size)  # zeroed, so that a new page is touched
print(faults() - before)
"""


def page_faults(keep: str, mebibytes: int) -> int:
    """Page faults of making and freeing ten such blocks after a first one, in a new process."""
    command = [sys.executable, "-c", FAULTS, keep, str(mebibytes)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize(
    ("keep", "mebibytes", "kept"),
    [
        ("none", 40, False),
        ("keep_image_memory", 3, True),
        ("keep_image_memory", 25, True),
        ("keep_all_memory", 3, True),
        ("keep_all_memory", 300, True),
    ],
)
def test_freed_memory_is_kept(keep: str, mebibytes: int, kept: bool) -> None:
    assert (page_faults(keep, mebibytes) < 100) is kept
