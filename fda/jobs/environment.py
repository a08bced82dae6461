"""What runs need of this machine: Python and packages in the required versions, a driver that fits torch's CUDA, memory.

Imports no torch: versions are read from files, and where there is a driver a child process says what torch finds.
"""

import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fda.home import REPO
from fda.jobs.housekeeping import Finding

DRIVER = Path("/proc/driver/nvidia/version")
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}  # CUDA → driver; NVIDIA, CUDA compatibility, minor version compatibility
LEAST_AVAILABLE = 1 << 30  # bytes of memory
CHILD_SECONDS = 120  # for a first import of torch on a slow disk
DEVICES = (
    "import torch; print(*(f'{torch.cuda.get_device_name(i)}, {torch.cuda.mem_get_info(i)[0] / 2**30:.1f} of "
    "{torch.cuda.mem_get_info(i)[1] / 2**30:.1f} GiB free' for i in range(torch.cuda.device_count())), sep='; ')"
)


def environment() -> Iterator[Finding]:
    """Check this machine, from Python to the GPU."""
    requires, packages = requirements()
    version = platform.python_version()
    fits = SpecifierSet(requires).contains(version)
    yield Finding(fits, f"Python {version}{'' if fits else f' is not {requires}: install that version'}.")
    yield from _packages(packages)
    yield _memory()
    yield from _gpu()


def requirements() -> tuple[str, list[Requirement]]:
    """(versions of Python, packages with their versions) that this package declares."""
    project = REPO / "pyproject.toml"
    if project.is_file():
        declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return declared["requires-python"], [Requirement(line) for line in declared["dependencies"]]
    about = metadata.metadata("fda")
    lines = [Requirement(line) for line in metadata.requires("fda") or ()]
    return about["Requires-Python"], [one for one in lines if one.marker is None or one.marker.evaluate({"extra": ""})]


def _packages(needed: list[Requirement]) -> Iterator[Finding]:
    install = f"`{sys.executable} -m pip install -r requirements.txt`"
    installed = []
    for one in needed:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            yield Finding(False, f"{one.name} is not installed: {install}.")
            continue
        installed.append(f"{one.name} {version}")
        if not one.specifier.contains(version, prereleases=True):
            yield Finding(False, f"{one.name} {version} is installed, {one.specifier} is needed: {install}.")
    yield Finding(True, f"{', '.join(installed)}.")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sentence = (
        f"{cores} CPU cores, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB of memory available"
    )
    few = memory.available < LEAST_AVAILABLE
    return Finding(not few, f"{sentence}{': the system may end runs, end other programs' if few else ''}.")


def _gpu() -> Iterator[Finding]:
    cuda = torch_cuda()
    built = f"torch is built for {f'CUDA {cuda}' if cuda else 'no CUDA'}"
    try:
        driver = re.search(r"(?:Module|x86_64|aarch64)\s+(?:for \S+\s+)?(\d+)\.(\S+)", DRIVER.read_text())
    except OSError:
        yield Finding(True, f"{built}; there is no NVIDIA driver: runs use the CPU.")
        return
    if driver is None:
        yield Finding(False, f"{built}; the driver's version in {DRIVER} cannot be read: try `nvidia-smi`.")
        return
    version = f"{driver[1]}.{driver[2]}"
    if cuda is None:
        yield Finding(False, f"driver {version}, but {built}: install torch from https://pytorch.org for a GPU.")
        return
    least = LEAST_DRIVER.get(int(cuda.partition(".")[0]), 0)
    if int(driver[1]) < least:
        yield Finding(False, f"driver {version}, but {built}, which needs {least} or newer: update the driver.")
        return
    yield _devices(f"driver {version}, {built}")


def torch_cuda() -> str | None:
    """The version of CUDA that torch is built for, from its version.py; None for a build without, or without torch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda\b.*=\s*['\"]([\d.]+)['\"]", text, flags=re.MULTILINE)
    return match and match[1]


def _devices(versions: str) -> Finding:
    try:
        done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, timeout=CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding(False, f"{versions}: torch did not answer within {CHILD_SECONDS} s; try `nvidia-smi`.")
    if done.returncode or not done.stdout.strip():
        why = (done.stderr.strip().splitlines() or ["it names no reason"])[-1]
        return Finding(False, f"{versions}: torch finds no GPU ({why}); try `nvidia-smi`.")
    return Finding(True, f"{versions}: {done.stdout.strip()}.")
