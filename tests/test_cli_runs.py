"""`runs name`, `note`, `tag`, `list`, `delete`, `undelete` and `move`: what they do, print and refuse."""

import json

import pytest
from typer.testing import CliRunner

from fda.cli.app import app
from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.store.store import MethodResult, Score, Store, UnitKey
from tests.support.runs import spec, sql


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


def said(*words: str) -> str:
    """What the command prints on stdout."""
    return CliRunner().invoke(app, ["runs", *words], catch_exceptions=False).stdout


def listed(*words: str) -> list[str]:
    return [entry["run_id"] for entry in json.loads(said("list", "--json", *words))]


def ended(store: Store, seed: int = 0) -> str:
    run_id = store.create_run(spec(seed=seed))
    store.set_state(run_id, "done")
    return run_id


def test_a_run_gets_a_name_a_note_and_tags(store):
    run_id = ended(store)
    said("name", run_id, "  short steps ")
    said("note", run_id, "half as many steps,\nas a check")
    said("tag", run_id, "best", "paper-2")
    said("tag", run_id, "best", "v1.5")
    run = store.run(run_id)
    assert (run.name, run.note, run.tags) == (
        "short steps",
        "half as many steps,\nas a check",
        ("best", "paper-2", "v1.5"),
    )
    shown = said("show", run_id)
    assert "name: short steps\n" in shown and "tags: best, paper-2, v1.5\n" in shown and "as a check\n" in shown
    assert "“short steps”  #best  #paper-2  #v1.5" in said("list")
    (entry,) = json.loads(said("list", "--json"))
    assert (entry["name"], entry["tags"]) == ("short steps", ["best", "paper-2", "v1.5"])
    assert {"run_id", "kind", "state", "units", "comparison", "spec", "path"} <= set(entry), "the keys of before"
    said("tag", run_id, "best", "v1.5", "--remove")
    said("name", run_id, "")
    said("note", run_id, " ")
    run = store.run(run_id)
    assert (run.name, run.note, run.tags) == (None, None, ("paper-2",))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("name", "x" * 81), "the name has 81 characters: give one of at most 80"),
        (("name", "red\x1b[31m"), "the name has control characters or more than one line"),
        (("name", "two\nlines"), "the name has control characters or more than one line"),
        (("name", "over\u202eride"), "the name has control characters or more than one line"),
        (("note", "x" * 1001), "the note has 1001 characters: give one of at most 1000"),
        (("note", "bell\x07"), "the note has control characters"),
        (("tag", "two words"), "'two words' is no tag: a tag is one word of at most 30 letters"),
        (("tag", "x" * 31), "is no tag"),
        (("tag", ""), "'' is no tag"),
        (("tag", *map(str, range(13))), "a run has at most 12 tags, not 13"),
    ],
)
def test_what_is_too_long_or_unreadable_is_refused_in_one_sentence(store, words, sentence):
    run_id = ended(store)
    with pytest.raises(UserError) as refusal:
        said(words[0], run_id, *words[1:])
    assert sentence in str(refusal.value)
    run = store.run(run_id)
    assert (run.name, run.note, run.tags) == (None, None, ())


def test_what_another_program_wrote_as_a_name_breaks_no_list(store):
    good, bad, ugly = ended(store), ended(store, 1), ended(store, 2)
    sql(store, "UPDATE runs SET name = x'00ff' WHERE run_id = ?", bad)
    sql(store, "UPDATE runs SET name = ? WHERE run_id = ?", "\x1b[2J", ugly)
    printed = said("list")
    assert good in printed and "its name is no text" in printed and "\x1b" not in printed
    said("delete", bad)
    assert sorted(listed()) == sorted([good, ugly])


def test_the_list_is_searched_filtered_and_sorted(store):
    first, second, third = ended(store), ended(store, 1), store.create_run(spec(seed=2))
    store.describe(first, name="Short steps", add_tags=("best", "old"))
    store.describe(second, note="a check of σ", add_tags=("best",))
    for run_id, loss in ((first, 0.3), (second, 0.1)):
        key = UnitKey("construct", "red", 0)
        store.add_units(run_id, [(key, 5)])
        store.update_unit(run_id, key, state="done", step=5, loss=loss)
    assert listed() == [third, second, first]
    assert listed("--search", "SHORT") == [first]
    assert listed("--search", "check tiny") == [second], "every word, in any column"
    assert listed("--search", "seed 2") == [third]
    assert listed("--tag", "best") == [second, first]
    assert listed("--tag", "best,old") == [first]
    assert listed("--state", "done,failed") == [second, first]
    assert listed("--zoo", "tiny") == [third, second, first] and listed("--zoo", "other") == []
    assert listed("--sort", "loss") == [second, first, third]
    assert listed("--sort", "name")[-1] == first, "ids begin with a digit"
    assert said("list", "--search", "nowhere") == "no run matches.\n"


def test_more_than_two_hundred_runs_are_all_listed(store):
    run_id = ended(store)
    columns = "kind, state, spec, device, created, queued, finished"
    for index in range(250):
        new = f"20200101-000000-{index:04x}"
        sql(store, f"INSERT INTO runs (run_id, {columns}) SELECT ?, {columns} FROM runs WHERE run_id = ?", new, run_id)
    assert len(said("list").splitlines()) == 251


def test_the_list_tells_the_scores(store):
    run_id = ended(store)
    for method, value in (("ta", 0.7), ("tsv", 0.74), ("fda:ta", 0.8), ("individual", 0.9)):
        store.add_result(
            run_id, MethodResult(method, "done", {}, 1, 1, None), [Score(method, "red", "test", "accuracy", value, 50)]
        )
    (entry,) = json.loads(said("list", "--json"))
    assert entry["fda_average"] == 0.8 and entry["fda_lead"] == pytest.approx(0.06)
    assert "FDA 80.0% (+6.0)" in said("list")


# deleting and bringing back ------------------------------------------------------------------------------------------


def test_deleted_runs_are_hidden_and_can_be_brought_back_whole(store):
    first, second, kept = ended(store), ended(store, 1), ended(store, 2)
    store.describe(first, name="short")
    assert said("delete", first, second) == f"deleted {first}\ndeleted {second}\n"
    assert listed() == [kept]
    for call in (store.run, store.units, store.version, store.queue_position, store.stop_requested, store.results):
        with pytest.raises(UserError, match="There is no run"):
            call(first)
    with pytest.raises(UserError, match="There is no run"):
        said("delete", first)
    assert said("undelete", first, second) == f"brought back {first}\nbrought back {second}\n"
    assert listed() == [kept, second, first] and store.run(first).name == "short"
    assert (store.run_dir(first) / "spec.json").is_file()
    with pytest.raises(UserError, match="is not deleted: there is nothing to bring back"):
        said("undelete", kept)


def test_files_go_when_the_time_is_over_at_the_next_action(store, monkeypatch):
    gone, other = ended(store), ended(store, 1)
    jobs.delete(store, gone)
    jobs.settle(store)
    assert store.run_dir(gone).is_dir(), "a minute is not over"
    store.purge(0)
    assert not store.run_dir(gone).exists() and sql(store, "SELECT count(*) FROM runs") == [(1,)]
    with pytest.raises(UserError, match="There is no run"):
        said("undelete", gone)
    sql(store, "UPDATE runs SET deleted = 'an earlier boot 1.0' WHERE run_id = ?", other)
    jobs.settle(store)
    assert not store.run_dir(other).exists(), "a mark from before the machine started anew is old"


def test_delete_now_frees_the_disk_at_once(store):
    run_id = ended(store)
    said("delete", run_id, "--now")
    assert not store.run_dir(run_id).exists()


def test_what_a_killed_process_left_is_removed_and_nothing_else(store):
    run_id = ended(store)
    left = store.home / "runs" / ".20200101-000000-dead.deleted"
    beside = [store.home / "runs" / name for name in (f".{run_id}.deleted", ".mine.deleted")]
    for folder in (left, *beside):
        folder.mkdir()
        (folder / "file").write_text("x")
    store.purge()
    assert not left.exists() and all(folder.exists() for folder in beside) and store.run_dir(run_id).exists()


def test_a_run_at_work_is_not_deleted(store):
    run_id = store.create_run(spec())
    with pytest.raises(UserError, match=r"is queued: stop it first \(`python -m fda runs stop"):
        said("delete", run_id)
    assert listed() == [run_id]


# the queue -----------------------------------------------------------------------------------------------------------


def test_a_queued_run_is_moved(store):
    first, second, third = (store.create_run(spec(seed=seed)) for seed in range(3))
    other = store.create_run(spec(device="cuda:0", seed=3))
    assert said("move", third, "up") == "number 2 in the queue\n"
    assert [store.queue_position(run) for run in (first, third, second, other)] == [1, 2, 3, 1]
    said("move", first, "down")
    assert [store.queue_position(run) for run in (third, first, second, other)] == [1, 2, 3, 1]
    with pytest.raises(UserError, match="is the first in the queue of cpu already"):
        said("move", third, "up")
    with pytest.raises(UserError, match="is the last in the queue of cuda:0 already"):
        said("move", other, "down")
    with pytest.raises(UserError, match="a run is not moved 'sideways': choose up or down"):
        said("move", third, "sideways")
    store.set_state(second, "cancelled")
    with pytest.raises(UserError, match="is cancelled: only a queued run can be moved"):
        said("move", second, "up")
