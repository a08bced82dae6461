"""How our processes end."""

import os
import subprocess
import sys


def test_a_process_leaves_with_its_code_after_its_words_and_what_was_registered_for_its_end():
    code = """
import atexit, sys
from fda.interpreter import leave
atexit.register(lambda: print("registered"))
print("said", end=" ")
print("complained", end="", file=sys.stderr)
leave(3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said registered\n", "complained")


def test_a_reader_that_is_gone_changes_nothing():
    code = "import sys\nfrom fda.interpreter import leave\nsys.stdin.read()\nprint('said')\nleave(3)"
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, "-c", code], **streams, env=buffered) as process:
        process.stdout.close()
        process.stdin.close()  # and now it speaks
        assert process.stderr.read() == b""
    assert process.returncode == 3
