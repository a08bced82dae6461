"""FDA_HOME and what processes of ours write into it are for the owner alone; what is asked for elsewhere is not."""

import os
import stat
import subprocess
import sys
from pathlib import Path

from fda import home
from fda.home import REPO, open_to_others, write_privately
from fda.jobs.doctor import repair
from fda.store.store import Store
from tests.support.runs import spec

RUN = """
import os, sys
os.umask(0o022)
from fda.cli.output import write_whole
from fda.interpreter import begin
from fda.store.store import Store
from fda.stages.worker import run_here
from pathlib import Path
from tests.support.runs import spec, units
begin()
store = Store()
run_here(store, store.create_run(spec()), execute=units)
write_whole(Path(sys.argv[1]), "{}")
"""


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def test_a_run_leaves_nothing_that_others_can_read(fda_home, tmp_path):
    wanted = tmp_path / "rows.json"
    subprocess.run([sys.executable, "-c", RUN, str(wanted)], check=True, cwd=REPO)
    found = modes(fda_home)
    assert {"home", "fda.db", "spec.json", "runs", "locks"} <= found.keys()
    assert all(mode & 0o077 == 0 for mode in found.values()), found
    assert stat.S_IMODE(wanted.stat().st_mode) == 0o644


def test_a_home_that_was_open_is_closed_by_the_first_write_and_its_files_by_repair(fda_home):
    fda_home.mkdir(mode=0o755)
    fda_home.chmod(0o755)
    store = Store(fda_home)
    run_id = store.create_run(spec())
    assert modes(fda_home)["home"] == 0o700
    log = store.run_dir(run_id) / "log.txt"
    log.write_text("")
    log.chmod(0o644)
    list(repair(store))
    assert all(mode & 0o077 == 0 for mode in modes(fda_home).values())


def test_reading_a_home_leaves_its_mode(fda_home):
    fda_home.mkdir(mode=0o755)
    fda_home.chmod(0o755)
    Store(fda_home).runs()
    assert modes(fda_home) == {"home": 0o755}


def test_a_folder_that_was_asked_for_has_the_users_modes(tmp_path, monkeypatch):
    before = os.umask(0o027)
    monkeypatch.setattr(home, "_umask", None)
    try:
        write_privately()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "model").write_text("")
        (tmp_path / "out" / "elsewhere").symlink_to(tmp_path)
        open_to_others(tmp_path / "out")
        assert modes(tmp_path / "out") | {"elsewhere": 0} == {"out": 0o750, "model": 0o640, "elsewhere": 0}
    finally:
        os.umask(before)
