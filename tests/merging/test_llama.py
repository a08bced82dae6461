"""Merging and construction follow the largest tensor and block of a Llama on disk, not the model.

`python -m pytest -m large` does it with 3 billion parameters in 2.5 GB; one of 29 million is merged in every run of tests.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.llama import Size, make_zoo

SMALL = Size(width=384, inner=1056, layers=6, vocabulary=24_000, moved=(3,))
LARGE = Size(width=2560, inner=6912, layers=36, vocabulary=32_000, moved=(0, 35))
LIMIT = 25 * 10**8
DISK = 25 * 10**9

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")


def measured(zoo: Path, home: Path, *words: object) -> dict[str, tuple[int, int]]:
    """Name → (peak bytes, bytes before) of what a process of its own did. Printed, with the CPU's seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.llama", str(zoo), *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"FDA_HOME": str(home), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("["):
            name, peak, before, seconds = json.loads(line)
            print(f"{name:10} {peak / 1e9:.2f} GB, {before / 1e9:.2f} of them before; {seconds:.0f} s of CPU")
            found[name] = (peak, before)
    return found


@linux
def test_merging_holds_a_few_copies_of_the_largest_tensor(tmp_path, fda_home):
    zoo = make_zoo(tmp_path / "zoo", SMALL)
    embedding = 4 * SMALL.width * SMALL.vocabulary  # bytes in fp32
    allowed = 6 * embedding
    assert 3 * 4 * SMALL.count > 1.5 * allowed, "base and two tasks in fp32 would not fit"
    found = measured(zoo, fda_home, "merge", "ta", "ties", "tsv")
    assert set(found) == {"ta", "ties", "tsv"}
    assert {name: peak - before for name, (peak, before) in found.items() if peak - before > allowed} == {}
    shutil.rmtree(tmp_path / "zoo")


@pytest.mark.large
@pytest.mark.timeout(3 * 3600)
@linux
def test_three_billion_parameters_merge_and_construct_within_two_and_a_half_gigabytes(tmp_path, fda_home):
    if shutil.disk_usage(tmp_path).free < DISK:
        pytest.skip(f"needs {DISK / 1e9:.0f} GB of free disk")
    assert LARGE.count > 3 * 10**9
    zoo = make_zoo(tmp_path / "zoo", LARGE)
    try:
        options = ("--tasks", "maths", "--blocks", 35, "--anchors", 64, "--steps", 5, "--preset", "paper")
        found = measured(zoo, fda_home, "construct", *options, "--device", "cpu")
        found |= measured(zoo, fda_home, "merge", "ta", "ties", "tsv")
    finally:
        shutil.rmtree(tmp_path / "zoo")
    assert set(found) == {"construct", "ta", "ties", "tsv"}
    assert {name: peak for name, (peak, _) in found.items() if peak > LIMIT} == {}
