"""The container's server as its Dockerfile starts it: names, frames, health, JSON lines; and the systemd unit."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fda.bench.dashboard import free_port
from fda.home import REPO
from fda.ui import guard, health, logs
from tests.support.answers import until_it_answers

SPACE = "demo.hub.example"


@dataclass
class Container:
    port: int
    log: Path

    def ask(self, path: str, host: str = SPACE) -> tuple[int, bytes, str]:
        """Status, body and content security policy."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers["Content-Security-Policy"]
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers["Content-Security-Policy"]

    def lines(self, path: str, status: int) -> list[dict]:
        """The log's lines on such requests; a line is written after its answer has been sent, so it is waited for."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            said = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
            if found := [one for one in said if (one.get("path"), one.get("status")) == (path, status)]:
                return found
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())


@pytest.fixture(scope="module")
def container(tmp_path_factory) -> Iterator[Container]:
    """The Dockerfile's last command with its environment, on another port, in this checkout."""
    folder = tmp_path_factory.mktemp("container")
    docker = (REPO / "Dockerfile").read_text()
    port = free_port()
    (command,) = re.findall(r"^CMD (.+)$", docker, re.MULTILINE)
    environment = dict(re.findall(r"^ENV (FDA_\w+)=(.+)$", docker, re.MULTILINE))
    environment = {name: value.replace("/home/fda", str(folder)) for name, value in environment.items()}
    environment |= {"SPACE_HOST": SPACE, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = command.replace("7860", str(port)).replace("0.0.0.0", "127.0.0.1")
    one = Container(port, folder / "log")
    with one.log.open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", command], cwd=REPO, env=os.environ | environment, stdout=log, stderr=log
        )
    until_it_answers(f"http://localhost:{port}/health", process, one.log)
    yield one
    process.terminate()
    process.wait(timeout=20)


def test_it_answers_to_its_own_name_and_lets_the_hub_frame_it(container):
    status, body, policy = container.ask("/health")
    assert (status, json.loads(body)) == (200, {"ready": True, "problems": []})
    assert re.search(r"frame-ancestors 'self' https://huggingface\.co$", policy)
    assert container.ask("/", host="evil.example")[0] == 403
    port = yaml.safe_load((REPO / "README.md").read_text().split("---")[1])["app_port"]
    assert f"EXPOSE {port}\n" in (REPO / "Dockerfile").read_text()


def test_each_request_is_one_line_of_json_without_its_secret(container):
    container.ask("/updates/a-secret-that-is-a-key?seen=7")
    container.ask("/health", host="evil.example")
    (line,) = container.lines("/updates/…", 200)
    assert set(line) == {"time", "level", "logger", "message", "method", "path", "status", "ms"}
    assert len(container.lines("/health", 403)) == 1
    assert "a-secret" not in container.log.read_text()


def test_without_fda_log_nothing_is_logged(monkeypatch):
    monkeypatch.delenv("FDA_LOG", raising=False)
    assert not logs.is_wanted()


@pytest.mark.parametrize("sites", ["*", "'none'", "javascript:x", "https://a.example/path", "; script-src *"])
def test_only_origins_may_frame_it(monkeypatch, sites):
    monkeypatch.setenv("FDA_FRAMED_BY", sites)
    assert guard.policy() == guard.POLICY


def test_a_store_that_cannot_be_read_and_a_full_disk_are_not_healthy(fda_home, monkeypatch):
    assert health.problems() == []
    fda_home.mkdir()
    (fda_home / "fda.db").write_bytes(b"no database" * 1000)
    monkeypatch.setattr("fda.store.refusals.free_bytes", lambda _: 1 << 20)
    first, second = health.problems()
    assert "cannot be read" in first and "full" in second and str(fda_home) not in first + second


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_accepts_the_unit():
    found = subprocess.run(
        ["systemd-analyze", "verify", REPO / "docs" / "deploy" / "fda.service"], capture_output=True, text=True
    )
    said = [line for line in found.stderr.splitlines() if "is not executable" not in line]
    assert said == []
