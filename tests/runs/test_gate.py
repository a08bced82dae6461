"""Who may do what, how much each may have, what the audit trail tells, and the limits of child processes."""

import json
import re
import resource
import subprocess
import sys

import pytest

from fda.access import access_file, read_access
from fda.actor import Actor, acting_as, system_user
from fda.child_limits import child_limits
from fda.cli import app as cli
from fda.errors import UserError
from fda.home import REPO
from fda.jobs import lifecycle as jobs
from fda.jobs import mixers
from fda.jobs.gate import refusal
from fda.requests import exports
from fda.requests.helper_runs import start_helper, survey_spec
from fda.store.spec import DownloadSettings, RunSpec
from fda.store.store import Store
from fda.zoos.zoo import Zoo
from tests.support.runs import spec

ADA, BOB = Actor("ada", "operator", limited=True), Actor("bob", "operator", limited=True)
EVE, NOBODY = Actor("eve", "viewer", limited=True), Actor("mallory", None, limited=True)
ROOT = Actor("root@lab", "admin", limited=True)


@pytest.fixture
def store(fda_home, monkeypatch) -> Store:
    """A store whose runs get no worker."""
    monkeypatch.setattr(jobs, "_spawn", lambda store, run_id: None)
    return Store(fda_home)


def made(store: Store, who: Actor, seed: int = 0, state: str | None = None) -> str:
    with acting_as(who):
        run_id = jobs.start(store, spec(seed=seed))
    if state is not None:
        store.set_state(run_id, state)
    return run_id


def write(text: str) -> None:
    access_file().parent.mkdir(exist_ok=True)
    access_file().write_text(text)


def test_whoever_only_looks_can_start_and_change_nothing(store, monkeypatch):
    run_id, ended = made(store, ADA), made(store, ADA, 1, "failed")
    before = store.audit(), store.versions()
    zoo = spec().zoo
    mixers.mixer_for("tab", zoo)
    actions = [
        lambda: jobs.start(store, spec(seed=2)),
        lambda: start_helper(store, survey_spec(access_file(), zoo)),
        lambda: jobs.stop(store, run_id),
        lambda: jobs.resume(store, ended),
        lambda: jobs.delete(store, ended),
        lambda: jobs.delete(store, ended, now=True),
        lambda: jobs.move(store, run_id, 1),
        lambda: jobs.describe(store, run_id, name="mine"),
        lambda: exports.remove_export(store, ended, "ta"),
        lambda: mixers.mixer_for("tab", zoo).about(),
    ]
    for who, says in ((EVE, "you are a viewer and may not"), (NOBODY, "you have no role here and may not")):
        for action in actions:
            with acting_as(who), pytest.raises(UserError, match=says):
                action()
    assert (store.audit(), store.versions()) == before


def test_a_thread_that_goes_on_for_a_person_has_their_role_of_now(store):
    write('[roles]\noperator = ["ada"]\n')
    with acting_as(ADA):
        assert refusal("download") is None
        write('[roles]\nviewer = ["ada"]\n')
        assert "you are a viewer and may not download" in refusal("download")


def test_no_page_goes_past_the_gate():
    changing = r"(?<!jobs)\.(create_run|request_stop|requeue|mark_deleted|delete_run|undelete|describe|move_in_queue)\("
    for path in [*(REPO / "pages").glob("*.py"), *(REPO / "fda" / "ui").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(changing, text), f"{path}: call fda.jobs.lifecycle, which asks the gate"
        assert path.name == "actions.py" or "st.download_button" not in text, f"{path}: use fda.ui.actions"


def test_an_operator_changes_only_runs_of_their_own(store):
    run_id, ended = made(store, ADA), made(store, ADA, 1, "failed")
    actions = [
        lambda: jobs.stop(store, run_id),
        lambda: jobs.move(store, run_id, 1),
        lambda: jobs.describe(store, run_id, note="x"),
        lambda: jobs.resume(store, ended),
        lambda: jobs.delete(store, ended),
        lambda: exports.remove_export(store, ended, "ta"),
    ]
    for action in actions:
        with acting_as(BOB), pytest.raises(UserError, match=r"may not .* of others: run .* was started by ada"):
            action()
    with acting_as(ADA):
        jobs.delete(store, ended)
    with acting_as(BOB), pytest.raises(UserError, match="may not bring back deleted runs of others"):
        jobs.undelete(store, ended)
    with acting_as(ADA):
        jobs.undelete(store, ended)
        jobs.stop(store, run_id)
    with acting_as(ROOT):
        jobs.delete(store, ended)
    told = [(entry.who, entry.action) for entry in store.audit(run_id=ended)]
    assert told == [("root@lab", "delete"), ("ada", "undelete"), ("ada", "delete"), ("ada", "start")]


def test_a_run_of_nobody_known_is_for_administrators(store):
    run_id = made(store, ADA, state="failed")
    with store._transaction() as connection:
        connection.execute("UPDATE runs SET started_by = NULL")
    with acting_as(ADA), pytest.raises(UserError, match="started by somebody unknown"):
        jobs.delete(store, run_id)
    with acting_as(ROOT):
        jobs.delete(store, run_id)


def test_what_has_ended_long_ago_is_tidied_whoever_started_it(store, monkeypatch):
    monkeypatch.setattr("fda.requests.helper_runs.KEPT", 0)
    zoo = spec().zoo
    with acting_as(ADA):
        old = start_helper(store, survey_spec(access_file(), zoo))
    store.set_state(old, "done")
    with acting_as(BOB):
        start_helper(store, survey_spec(access_file(), zoo.model_copy(update={"name": "other"})))
    assert store.audit(run_id=old)[0].who == "housekeeping"


def downloading(name: str) -> RunSpec:
    zoo = Zoo.model_validate({"name": name, "base": {"model": "/base"}, "tasks": [{"name": "red", "model": "/red"}]})
    return RunSpec(zoo=zoo, zoo_path="/zoo.yaml", tasks=("red",), helper=DownloadSettings())


def test_each_limit_ends_in_a_sentence_and_holds_for_one_person(store):
    first = made(store, ADA)
    write("[limits]\nruns = 1\ntransfers = 1\ndisk_gb = 0.000001\n")
    with acting_as(ADA), pytest.raises(UserError, match="ada has as many runs waiting or at work as are allowed .1."):
        jobs.start(store, spec(seed=1))
    made(store, BOB, 1)
    with acting_as(ADA):
        jobs.start(store, downloading("one"))
        with pytest.raises(UserError, match="ada has as many exports and downloads waiting or at work as are"):
            jobs.start(store, downloading("two"))
        jobs.stop(store, first)
        (store.run_dir(first) / "merged").write_bytes(bytes(2000))
        with pytest.raises(
            UserError, match=r"runs of ada take 0.0 GB on the disk, and 1e-06 GB are allowed: delete some"
        ):
            jobs.resume(store, first)
    assert jobs.start(store, spec(seed=2)), "the command line has no limits"


def test_one_person_has_only_so_many_mixers(store, monkeypatch):
    write("[limits]\nmixers = 1\n")
    monkeypatch.setattr(mixers, "_mixers", {})
    monkeypatch.setattr(mixers.Mixer, "running", property(lambda one: one.owner == ADA))
    with acting_as(ADA):
        mixers.mixer_for("first tab", spec().zoo)
        with pytest.raises(UserError, match="ada has as many mixers in use as are allowed .1.: wait a minute"):
            mixers.mixer_for("second tab", spec().zoo).about()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[roles]\nadmin = ['a*b']", r"access\.toml, roles\.admin: .*'a\*b' is neither a name, nor \*@DOMAIN"),
        ("[roles]\nboss = ['a']", r"access\.toml, roles\.boss: there is no such setting"),
        ("[limits]\nruns = 0", r"access\.toml, limits\.runs: Input should be greater"),
        ("[proxy]\nheader = 'X-User'\naddresses = ['nginx']", r"access\.toml, proxy\.addresses: .*'nginx'"),
        ("[roles", "is no readable TOML file"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_lets_nobody_act(store, text, says):
    write(text)
    with pytest.raises(UserError, match=says):
        read_access()
    with acting_as(ADA), pytest.raises(UserError, match=says):
        jobs.start(store, spec())


def test_the_highest_rule_that_fits_gives_the_role(fda_home):
    write('[roles]\nadmin = ["Ada@lab.org"]\noperator = ["*@lab.org"]\nviewer = ["carl"]\n')
    roles = {"ada@lab.org": "admin", "bob@lab.org": "operator", "x@y@lab.org": None, "bob@sub.lab.org": None,
             "bob@evil-lab.org": None, "carl": "viewer", "": None, "lab.org": None}  # fmt: skip
    assert {name: read_access().role_of(name) for name in roles} == roles
    write('[roles]\nviewer = ["ada@lab.org"]\n')
    assert read_access().role_of("ada@lab.org") == "viewer", "read anew"


def test_the_command_line_acts_for_the_system_user_and_prints_the_trail(store, capsys):
    run_id, other = made(store, system_user()), made(store, ADA, 1)
    cli.app(["runs", "name", run_id, "short steps"], standalone_mode=False)
    cli.app(["audit", "--json"], standalone_mode=False)
    name = system_user().name
    told = [(entry["who"], entry["action"], entry["run_id"]) for entry in json.loads(capsys.readouterr().out)]
    assert told == [(name, "describe", run_id), ("ada", "start", other), (name, "start", run_id)]
    for words, count in (["--run", run_id], 2), (["--who", "ada"], 1), (["--limit", "1"], 1), (["--who", "x"], 1):
        cli.app(["audit", *words], standalone_mode=False)
        assert len(capsys.readouterr().out.splitlines()) == count
    assert store.run(other).started_by == "ada"


def test_limits_of_children_hold(monkeypatch):
    monkeypatch.setenv("FDA_CHILD_GB", "0.5")
    monkeypatch.setenv("FDA_CHILD_CPUS", "1")
    monkeypatch.setenv("FDA_CHILD_NICE", "7")
    code = "import os, sys; sys.stdin.readline(); print(os.nice(0), len(os.sched_getaffinity(0)), flush=True); bytes(2**30)"
    limit = child_limits()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, text=True)
    limit(child.pid)
    out, errors = child.communicate("go\n", timeout=60)
    assert out == "7 1\n" and "MemoryError" in errors
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 500_000_000, "this process is not limited"
    monkeypatch.setenv("FDA_CHILD_GB", "much")
    with pytest.raises(UserError, match="FDA_CHILD_GB is 'much': set it to a number"):
        child_limits()
