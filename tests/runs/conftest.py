"""Workers that do what a test tells them."""

import subprocess
import sys

import pytest

from fda.jobs import lifecycle as jobs


@pytest.fixture
def work(monkeypatch, tmp_path):
    """`work(name)`: workers started from now on do this work of tests.support.runs. None outlives the test."""
    monkeypatch.setattr(jobs, "_command", lambda run_id: [sys.executable, "-m", "tests.support.fake_worker", run_id])
    monkeypatch.chdir(tmp_path)  # a worker finds fda whatever the directory
    children: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def remembered(*args: object, **options: object) -> subprocess.Popen:
        children.append(popen(*args, **options))
        return children[-1]

    monkeypatch.setattr(jobs.subprocess, "Popen", remembered)
    yield lambda name: monkeypatch.setenv("FAKE_WORK", name)
    for child in children:
        child.kill()
        child.wait()
    jobs._workers.clear()
