"""The package as `pip install .` makes it: what it asks for, what it brings, and its command."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fda.home import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned(name: str) -> dict[str, str]:
    """Package → version in a file of requirements."""
    lines = (REPO / name).read_text(encoding="utf-8").splitlines()
    return {Requirement(line).name: line.split("==")[1] for line in lines if "==" in line}


def test_the_pinned_runtime_is_what_the_package_asks_for():
    pins, asked = pinned("requirements.txt"), [Requirement(text) for text in PROJECT["dependencies"]]
    assert {one.name for one in asked} == set(pins)
    assert all(one.specifier.contains(pins[one.name]) for one in asked)


def test_the_pinned_tools_are_among_the_extras():
    pins = pinned("requirements-dev.txt") | pinned("tests/requirements-no-deps.txt")
    extras = [Requirement(text) for texts in PROJECT["optional-dependencies"].values() for text in texts]
    assert {one.name for one in extras} <= set(pins)
    assert all(one.specifier.contains(pins[one.name]) for one in extras)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel has it, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder), str(REPO)], check=True, cwd=folder)
    return folder


def test_an_installed_package_brings_the_demo_zoo_and_the_command(installed, fda_home):
    environment = os.environ | {"PYTHONPATH": str(installed), "FDA_HOME": str(fda_home)}
    command = [sys.executable, str(installed / "bin" / "fda"), "zoo", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, cwd=installed.parent, env=environment, check=True)
    assert re.search(r"^demo: .*\(5 tasks: digits, ", listed.stdout, re.MULTILINE)
    assert (installed / "fda" / "assets" / "demo").is_dir()


def test_an_installed_package_brings_every_file_of_the_package_that_is_not_python(installed):
    scripts = {path.relative_to(REPO) for path in (REPO / "fda").rglob("*") if path.suffix in (".js", ".css", ".html")}
    assert {path.suffix for path in scripts} == {".js", ".css", ".html"}
    assert [str(path) for path in scripts if not (installed / path).is_file()] == []
