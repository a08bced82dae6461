"""What every test has, and how the suite runs: where its files lie, in what order, and what `--fast` leaves out."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from fda.interpreter import ALLOCATIONS
from tests.support.fast import is_fast

# What the suite leaves in its temporary folder at most; the test of memory writes 0.9 GB of checkpoints.
ROOM = 8 * 2**30
SECONDS = "fda/seconds"  # the key in pytest's cache: file → seconds of the last run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out the files that tests/support/fast.py calls slow")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Settle the folders before pytest does. Workers of pytest-xdist get them from the process that starts them."""
    gc.set_threshold(
        ALLOCATIONS
    )  # as in our own processes: with Python's 700 a twentieth of the suite is collecting garbage
    if hasattr(config, "workerinput"):
        return
    # What torch compiles serves every test and the next run, though each test has an FDA_HOME of its own.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(config.rootpath / ".pytest_cache" / "compiled"))
    # Torch believes what the CPU says of its vector instructions: trying each with the compiler takes five seconds.
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
    if config.option.basetemp is None and (folder := _folder_in_memory()):
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.option.basetemp = str(folder / "pytest")
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    config.pluginmanager.register(Stopwatch(config))


def _folder_in_memory() -> Path | None:
    """A new folder in memory: a test of the store waits for the disk most of its time. None where there is no room."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shutil.disk_usage(shared).free < ROOM or psutil.virtual_memory().available < 2 * ROOM:
        return None
    return Path(tempfile.mkdtemp(prefix="fda-tests-", dir=shared))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.option.fast and collection_path.name.startswith("test_") and not is_fast(collection_path):
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put long files first, so that no worker is left alone with one: by their seconds in the last run, else by rule."""
    seconds: dict[str, float] = config.cache.get(SECONDS, {}) if getattr(config, "cache", None) else {}

    def rank(item: pytest.Item) -> tuple[bool, float, bool]:
        file = item.path.relative_to(config.rootpath).as_posix()
        whole_job = any(item.iter_markers("memory")) or any(item.iter_markers("browser"))
        return not whole_job, -seconds.get(file, 0.0), is_fast(item.path)

    firsts: dict[Path, tuple[bool, float, bool]] = {}
    for item in items:
        firsts[item.path] = min(rank(item), firsts.get(item.path, rank(item)))
    items.sort(key=lambda item: firsts[item.path])


class Stopwatch:
    """Adds up what each file takes and keeps it in pytest's cache for the order of the next run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self.seconds[file] = self.seconds.get(file, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        if getattr(self.config, "cache", None):  # None with -p no:cacheprovider
            self.config.cache.set(SECONDS, self.config.cache.get(SECONDS, {}) | self.seconds)


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """A page that a test runs takes the place of `__main__`, which processes of the next test would then run as theirs."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def tiny_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a tiny zoo, shared: do not change it (`make_zoo` makes one to break)."""
    from tests.support.tiny_zoo import make_zoo  # here, because it imports torch, open_clip and datasets

    return make_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(autouse=True)
def fda_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an FDA_HOME of its own."""
    home = tmp_path / "home"
    monkeypatch.setenv("FDA_HOME", str(home))
    return home


@pytest.fixture
def fda(
    fda_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SimpleNamespace]:
    """`fda(*words)` does here what `python -m fda` does with these words; a process of its own imports for seconds."""

    from fda.cli.app import main

    def run(*words: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["fda", *map(str, words)])
        umask, allocations = os.umask(0o077), gc.get_threshold()
        os.umask(umask)
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            os.umask(umask)
            gc.set_threshold(*allocations)
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=out, stderr=err)

    return run
