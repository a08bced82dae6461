"""What pages are made of: words for numbers, the clock, notices, forms, the command line, the live picture."""

import ast
import shlex
import subprocess
import sys
import tomllib

import numpy as np
import pytest

from fda.bench.page import make_run
from fda.errors import UserError
from fda.figures.theme import PALETTES
from fda.home import REPO
from fda.report import command, live, run_numbers
from fda.report.format import ago, duration, number, plural, size
from fda.settings import FAST_CONSTRUCT, PAPER_CONSTRUCT, ConstructSettings
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import clock, forms, notices, preload

PAGES = sorted((REPO / "pages").glob("*.py"))


def make_spec(**changes: object) -> RunSpec:
    """A valid spec without a zoo on disk."""
    tasks = [{"name": name, "model": f"/{name}"} for name in ("digits", "faces")]
    zoo = {"name": "mine", "base": {"model": "/base"}, "tasks": tasks}
    fields = {"zoo": zoo, "zoo_path": "/zoos/mine.yaml", "tasks": ["digits", "faces"], "construction": FAST_CONSTRUCT}
    return RunSpec.model_validate(fields | changes)


# words -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.42, "0.4 s"), (12.3, "12 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (273600, "3 d 4 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**30, "5 GiB")]
)
def test_sizes(count, words):
    assert size(count) == words


def test_ages_counts_and_plurals():
    assert [ago(0, now) for now in (5, 61, 7200, 200000)] == ["just now", "1 min ago", "2 h ago", "2 d ago"]
    assert [number(count) for count in (940, 567_000, 86_400_000)] == ["940", "567 k", "86.4 M"]
    assert plural(1, "task") == "1 task" and plural(6, "task") == "6 tasks"


def test_a_notice_is_a_sentence_and_keeps_its_characters():
    assert notices.sentence("there is no run a_b*c: choose `x_y`") == r"There is no run a\_b\*c\: choose `x_y`."
    assert notices.sentence("tensor `[a](b) is none") == r"Tensor \`\[a\](b) is none."
    assert notices.sentence("tensor ``[a](b)` `c_d`") == r"Tensor \``[a](b)` `c_d`."


# clock -------------------------------------------------------------------------------------------------------------------


def test_a_run_at_work_names_the_tab_and_a_queued_one_says_its_place(fda_home):
    store = Store(fda_home)
    first, second = store.create_run(make_spec()), store.create_run(make_spec(seed=1))
    assert (
        clock.Clock(store, store.run(second), [], 0.0).status == "number 2 in the queue of " + store.run(second).device
    )
    assert clock.Clock(store, store.run(second), [], 0.0).tab_title is None
    store.set_state(first, "running")
    store.plan_phases(first, {"start": 10.0, "construct": 28.0}, 1000.0)
    store.update_phase(first, "start", seconds=12.0, ended=1012.0)
    store.update_phase(first, "construct", began=1012.0)
    assert clock.Clock(store, store.run(first), [], 1012.0).tab_title == "30 % · anchors · FDA"
    assert clock.told_before(store, make_spec()) is None, "nothing was measured for this zoo"


# forms -------------------------------------------------------------------------------------------------------------------


def test_limits_of_a_field_are_the_models():
    found = {name: forms.limits(field) for name, field in ConstructSettings.model_fields.items()}
    assert found["sigma"] == (0, 100) and found["tokens"] == (1, 4096)
    assert found["seed"] == (0, 2**31 - 1) and found["init"] == (None, None)


# the command line --------------------------------------------------------------------------------------------------------


def test_a_plain_run_is_two_commands_with_nothing_but_what_differs():
    spec = make_spec(methods=["pretrained", "individual", "ta"], device="cpu")
    assert command.run_commands(spec, "20261123-041500-ab12") == [
        "python -m fda construct --zoo /zoos/mine.yaml --device cpu --preset fast",
        "python -m fda compare --zoo /zoos/mine.yaml --device cpu --methods pretrained,individual,ta",
    ], "none of the methods reads anchors"
    spec = make_spec(methods=["pretrained", "individual", "fda:ta"], device="cpu")
    assert command.run_commands(spec, "20261123-041500-ab12")[1] == (
        "python -m fda compare --zoo /zoos/mine.yaml --device cpu --anchors 20261123-041500-ab12 "
        "--methods pretrained,individual,fda:ta"
    )


def test_changes_are_options():
    settings = FAST_CONSTRUCT.model_copy(update={"steps": 7, "learning_rate": 0.5})
    spec = make_spec(construction=settings, tasks=["faces"], blocks=[0, 2], device="auto")
    assert command.run_commands(spec) == [
        "python -m fda construct --zoo /zoos/mine.yaml --tasks faces --blocks 0,2 --preset fast --steps 7 "
        "--learning-rate 0.5"
    ]


def test_the_command_line_has_an_option_for_every_setting():
    usage = subprocess.run(
        [sys.executable, "-m", "fda", "construct", "--help"], capture_output=True, text=True, cwd=REPO, timeout=120
    ).stdout
    for option in (*ConstructSettings.model_fields, "zoo", "tasks", "blocks", "preset", "device", "engine"):
        assert f"--{option.replace('_', '-')} " in usage, option


def test_a_path_with_blanks_is_quoted():
    lines = command.run_commands(make_spec(zoo_path="/my zoos/a.yaml"))
    assert shlex.split(lines[0])[5] == "/my zoos/a.yaml"


def test_changes_are_counted_from_the_presets():
    assert command.changes(PAPER_CONSTRUCT) == {}
    assert command.changes(PAPER_CONSTRUCT.model_copy(update={"seed": 3})) == {"seed": 3}


# the live picture --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def fill(store: Store) -> str:
    """A run at work: one unit done, one running, three methods of which one failed."""
    spec = make_spec(methods=["ta", "fda:ta", "tsv"])
    run_id = store.create_run(spec)
    store.set_state(run_id, "running")
    keys = [UnitKey("construct", name, block) for name in spec.tasks for block in range(2)]
    store.add_units(run_id, [(key, 50) for key in keys])
    for key in keys[:2]:
        store.add_scalars(run_id, key, [("angle_loss", step, 1 / (1 + step)) for step in range(50)])
        store.add_scalars(run_id, key, [("similarity", step, 0.2 + step / 500) for step in (0, 25, 49)])
        for step in (0, 25, 49):
            store.add_snapshot(run_id, key, step, "spectrum", np.linspace(1, 0.1, 15))
    store.update_unit(run_id, keys[0], state="done", step=50, loss=0.02, seconds=4.0)
    store.update_unit(run_id, keys[1], state="running", step=20, loss=0.05, seconds=2.0)
    store.add_system(run_id, {"memory_bytes": 2.0**30})
    store.add_result(
        run_id,
        MethodResult("ta", "done", {"scale": 0.3, "selection": "fixed"}, 1.0, 2**20, None),
        [Score("ta", task, "test", "accuracy", value, 100) for task, value in (("digits", 0.7), ("faces", 0.8))],
    )
    store.add_result(run_id, MethodResult("tsv", "failed", {}, None, None, "the SVD did not converge"))
    return run_id


def everything(**changes: object) -> live.UnitsView:
    return live.UnitsView(**({"tasks": (), "blocks": (), "smoothing": 0.6, "unit": None, "theme": "light"} | changes))


def test_a_picture_has_every_figure_there_are_numbers_for(store):
    run_id = fill(store)
    picture = live.picture(store, store.run(run_id), everything(), None)
    assert set(picture.figures) == {"progress", "loss", "similarity", "spectrum", "memory"}
    assert picture.unit == UnitKey("construct", "digits", 1), "the unit at work"


def test_an_unchanged_run_is_not_drawn_again_and_a_changed_one_is(store):
    run_id = fill(store)
    run = store.run(run_id)
    first = live.picture(store, run, everything(), None)
    assert live.picture(store, run, everything(), first) is first
    assert live.picture(store, run, everything(smoothing=0.0), first) is not first
    store.update_unit(run_id, UnitKey("construct", "digits", 1), step=30)
    assert live.picture(store, run, everything(), first) is not first


def test_only_figures_with_other_numbers_are_drawn_again(store):
    run_id = fill(store)
    first = live.picture(store, store.run(run_id), everything(), None)
    store.add_scalars(run_id, UnitKey("construct", "digits", 1), [("angle_loss", 50, 0.01)])
    second = live.picture(store, store.run(run_id), everything(), first)
    same = {name for name in first.figures if first.figures[name] is second.figures[name]}
    assert same == {"progress", "similarity", "spectrum", "memory"}
    other = live.picture(store, store.run(run_id), everything(theme="dark"), second)
    assert not any(other.figures[name] == second.figures[name] for name in second.figures)


def test_an_update_stays_small_however_many_points_there_are(store):
    run_id = make_run(store, 12_000)
    run, units = store.run(run_id), store.units(run_id)
    drawn = live.picture(store, run, everything(smoothing=0.3), None).figures
    assert len(units) == 20 and len(drawn["loss"]) + len(drawn["progress"]) + len(drawn["memory"]) < 80_000
    assert run_numbers.points_of_a_curve(units, everything()) == 120
    assert run_numbers.points_of_a_curve(units, everything(tasks=("digits",), blocks=(0,))) == 300


def test_filters_choose_the_curves(store):
    run = store.run(fill(store))
    drawn = live.figures(store, run, everything(blocks=(0,)), [], None)
    assert {trace.uid for trace in drawn["loss"].data if trace.uid.startswith("curve")} == {"curve digits 0"}


def test_chance_is_k_over_d(store):
    run_id = fill(store)
    unit = UnitKey("construct", "digits", 0)
    drawn = live.figures(store, store.run(run_id), everything(), [], unit)
    assert drawn["similarity"].layout.shapes[0].y0 == pytest.approx(3 / 15)


def test_a_run_that_has_not_begun_has_an_empty_picture(store):
    run = store.run(store.create_run(make_spec()))
    assert live.picture(store, run, everything(), None).figures == {}
    assert live.log_tail(store, run.run_id) == ""


def test_tables_hold_every_number(store):
    run_id = fill(store)
    assert len(live.scalars_table(store, run_id, "angle_loss", "angle_loss")) == 100
    assert list(live.spectrum_table(store, run_id, UnitKey("construct", "digits", 0)).columns) == [
        "index",
        "step 0",
        "step 25",
        "step 49",
    ]
    assert len(live.units_table(store.units(run_id))) == 4
    assert len(live.scalars_table(store, run_id, "nothing", "nothing")) == 0


# the house ---------------------------------------------------------------------------------------------------------------


def test_below_ui_nothing_imports_streamlit():
    for path in (REPO / "fda").rglob("*.py"):
        if REPO / "fda" / "ui" not in path.parents:
            names = {
                name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for name in _imported(node)
            }
            assert "streamlit" not in names, path


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_app_py_is_short():
    assert len((REPO / "app.py").read_text(encoding="utf-8").splitlines()) < 60


def test_the_server_listens_before_it_imports_what_pages_need():
    heavy = ("fda.store.store", "numpy", "pandas", "pydantic")
    code = f"import sys, app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stderr


def test_a_store_that_cannot_be_read_is_left_to_the_pages(fda_home, monkeypatch):
    fda_home.mkdir(exist_ok=True)
    (fda_home / "fda.db").write_text("no database")
    monkeypatch.setattr(preload, "FIRST_PAGE_SECONDS", 0.0)
    with pytest.raises(UserError):
        Store().runs()
    preload._import()  # which raises nothing


def test_the_ui_and_what_pages_import_load_no_torch():
    names = {
        name
        for path in [*PAGES, *(REPO / "fda" / "ui").glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name
    }
    heavy = ("torch", "transformers", "open_clip", "datasets")
    code = f"import sys, {', '.join(sorted(names))}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stderr


def test_exported_figures_look_like_the_page():
    config = tomllib.loads((REPO / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    for name, palette in PALETTES.items():
        assert config["theme"][name]["backgroundColor"] == palette.page
        assert config["theme"][name]["textColor"] == palette.ink


def test_the_server_stays_on_this_machine_and_shows_no_traceback():
    config = tomllib.loads((REPO / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["server"]["address"] == "127.0.0.1"
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"


# the survey --------------------------------------------------------------------------------------------------------------


def test_a_zoo_outside_the_roots_is_refused(tmp_path, monkeypatch):
    from fda.ui.survey import read_zoo

    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path / "allowed"))
    zoo = tmp_path / "zoo.yaml"
    zoo.write_text("name: mine\n")
    with pytest.raises(UserError, match="FDA_MODEL_ROOTS"):
        read_zoo(str(zoo))
