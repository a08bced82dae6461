"""`python -m fda` as a client of the stand-in hub, again and again without importing again.

Libraries read the hub's address once, when they are imported, so the client cannot be the test's own process. It is one that
imports everything once, and forks itself for each command: every command begins in the same state, as a new process would.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO

from tests.support.stand_in_hub import client_environment

COMMANDS = """import json, os, sys, traceback
import datasets, transformers.models.auto.tokenization_auto, transformers.modeling_layers, transformers.video_processing_utils
import fda.stages.check, fda.stages.execute
from fda.cli.app import main
for line in sys.stdin:
    command = json.loads(line)
    if not os.fork():
        os.environ |= command["environment"]
        for number, file in ((1, command["out"]), (2, command["err"])):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv[1:] = command["words"]
        code = 1
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


class HubClient:
    """Runs commands with `home` as the libraries' folder, HF_HOME, which is emptied by `forget`."""

    def __init__(self, commands: IO[str], codes: IO[str], home: Path, environment: Mapping[str, str]) -> None:
        self._commands, self._codes, self._home, self._environment = commands, codes, home, environment

    def forget(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir()

    def __call__(self, *words: object) -> SimpleNamespace:
        """What the command `fda *words` leaves: returncode, stdout and stderr. It has this process's FDA_HOME."""
        out, err = self._home.with_suffix(".out"), self._home.with_suffix(".err")
        command = {"words": [*map(str, words)], "environment": {"FDA_HOME": os.environ["FDA_HOME"]}}
        self._commands.write(json.dumps(command | {"out": str(out), "err": str(err)}) + "\n")
        self._commands.flush()
        code = int(self._codes.readline())
        done = SimpleNamespace(returncode=code, stdout=out.read_text(), stderr=err.read_text())
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def without_network(self, *words: object) -> subprocess.CompletedProcess:
        """The same in a new process that may ask for nothing, which libraries read when they are imported."""
        done = subprocess.run(
            [sys.executable, "-m", "fda", *map(str, words)],
            env=os.environ | self._environment | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done


@contextmanager
def hub_client(address: str, home: Path) -> Iterator[HubClient]:
    """A client of the hub at `address`. Its process ends when nobody can send it a command any more."""
    home.mkdir()
    environment = client_environment(address, home) | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield HubClient(process.stdin, process.stdout, home, environment)
