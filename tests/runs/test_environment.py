"""What the doctor says of a machine: versions that do not fit, a driver too old for torch, too little memory."""

from importlib import metadata
from types import SimpleNamespace

import pytest

from fda.jobs import environment
from fda.jobs.environment import requirements, torch_cuda

DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}.54.03  Wed Nov  6 00:00:00 UTC 2024\nGCC version: 12\n"
OPEN_DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}.105.08  Release Build\n"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """`machine(…)`: the faults that are found on a machine with this driver, torch and memory."""

    def faults(*, driver: str | None = None, cuda: str | None = "12.8", available: int = 8 << 30, torch: str = "0"):
        monkeypatch.setattr(environment, "DRIVER", tmp_path / "version")
        if driver is not None:
            (tmp_path / "version").write_text(driver)
        monkeypatch.setattr(environment, "torch_cuda", lambda: cuda)
        memory = SimpleNamespace(available=available, total=16 << 30)
        monkeypatch.setattr(environment.psutil, "virtual_memory", lambda: memory)
        answer = SimpleNamespace(returncode=0 if torch else 1, stdout=torch, stderr="x\nRuntimeError: no device")
        monkeypatch.setattr(environment.subprocess, "run", lambda *_, **__: answer)
        return [finding.text for finding in environment.environment() if not finding.good]

    return faults


def test_this_machine_has_what_the_package_needs(machine):
    assert machine() == []
    python, packages = requirements()
    assert python == ">=3.11" and {"torch", "streamlit"} <= {one.name for one in packages}
    assert torch_cuda() is None or torch_cuda()[0].isdigit()


def test_packages_that_are_missing_or_too_old_are_named(machine, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name == "orjson":
            raise metadata.PackageNotFoundError
        return "0.1" if name == "safetensors" else real(name)

    monkeypatch.setattr(environment.metadata, "version", version)
    old, missing = machine()
    assert "safetensors 0.1 is installed, >=0.8 is needed: `" in old and "-m pip install" in old
    assert "orjson is not installed" in missing


@pytest.mark.parametrize("text", [DRIVER, OPEN_DRIVER])
def test_a_driver_is_compared_with_what_torch_is_built_for(machine, text):
    assert machine(driver=text.format(535)) == []
    (fault,) = machine(driver=text.format(470))
    assert fault.startswith("driver 470.") and "CUDA 12.8, which needs 525 or newer: update the driver" in fault
    (fault,) = machine(driver=text.format(535), cuda=None)
    assert "built for no CUDA: install torch" in fault
    (fault,) = machine(driver=text.format(535), torch="")
    assert "torch finds no GPU (RuntimeError: no device)" in fault


def test_too_little_memory_is_a_fault(machine):
    (fault,) = machine(available=1 << 20)
    assert "0.0 of 16.0 GiB of memory available: the system may end runs" in fault
