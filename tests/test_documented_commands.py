"""Every command in the blocks of README and CONTRIBUTING does what they say, in their order, on a tiny zoo.

`demo` is run by tests/browser/test_main_job.py; here it would only repeat construct and compare on a larger zoo. Two methods
stand for all, because tests/runs/test_compare.py runs every one.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fda.cli.app import main
from fda.home import REPO
from fda.store.store import Store

RUN_ELSEWHERE = {"demo"}
# what makes a command of the README short, by its own options
SHORTER = {
    "construct": "--steps 2 --anchors 2 --device cpu",
    "compare": "--device cpu",
    "landscape": "--points 5 --samples 8 --snapshots 2 --device cpu",
    "ablate": "--steps 2 --device cpu",
}


def commands(document: str) -> list[list[str]]:
    """The words after `python -m fda` of each line in an indented or fenced block."""
    lines = (REPO / document).read_text(encoding="utf-8").splitlines()
    matches = (re.match(r"(?: {4}|\$ )?python -m fda (?P<words>.*)", line) for line in lines)
    return [shlex.split(match["words"], comments=True) for match in matches if match]


def wanted_run(command: str) -> str:
    """What RUN_ID means in a command: the newest comparison for an export, else the newest run with anchors."""
    kind = "compare" if command == "export" else "construct"
    return next(run.run_id for run in Store().runs() if run.kind == kind)


@pytest.mark.parametrize("document", ("README.md", "CONTRIBUTING.md"))
def test_commands_in_blocks_are_done(document, tiny_zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(tiny_zoo.read_text())
    for entry in (content["base"], *content["tasks"]):
        entry["model"] = str(tiny_zoo.parent / entry["model"])
    for entry in content["tasks"]:
        entry["head"] = str(tiny_zoo.parent / entry["head"])
        entry["data"]["path"] = str(tiny_zoo.parent / entry["data"]["path"])
    Path("my-zoo.yaml").write_text(yaml.safe_dump(content))
    recipe = {"zoo": "tiny", "parts": [{"blocks": [0], "method": "tsv"}]}
    Path("mix.yaml").write_text(yaml.safe_dump(recipe))
    instead = {"demo": "my-zoo.yaml", "digits,letters": "red,bright", "all": "ta,fda:tsv"}
    for first, *rest in commands(document):
        if first in RUN_ELSEWHERE:
            continue
        words = [instead.get(word, wanted_run(first) if word == "RUN_ID" else word) for word in rest]
        words += shlex.split(SHORTER.get(first, ""))
        monkeypatch.setattr(sys, "argv", ["fda", first, *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, " ".join((first, *words))


def test_the_readme_has_commands():
    assert {"construct", "compare", "landscape", "export", "report", "zoo"} <= {
        first for first, *_ in commands("README.md")
    }


@pytest.mark.parametrize("document", ("README.md", "CONTRIBUTING.md"))
def test_every_make_target_a_document_names_exists(document):
    targets = re.findall(r"(?:^ {4}|`)make ([a-z]+)", (REPO / document).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert targets
    for target in sorted(set(targets)):
        made = subprocess.run(["make", "-n", target], cwd=REPO, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
