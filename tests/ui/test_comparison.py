"""What the scores of a run know, say and give away: rows, intervals, cited numbers, tables, Markdown, LaTeX, HTML."""

import csv
import io
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from fda.errors import UserError
from fda.figures.theme import PALETTES
from fda.home import REPO
from fda.merging.registry import METHODS
from fda.report import comparison
from fda.report.cited import all_cited, cited
from fda.report.comparison_figures import ComparisonView, drawings, names_of
from fda.report.comparison_tables import raw_table, reading_table
from fda.report.html import report, standalone_html
from fda.report.markup import to_html, to_latex, to_markdown
from fda.settings import FAST_CONSTRUCT
from fda.store.predictions import predictions_file, save_predictions
from fda.store.records import MethodResult, Run, Score
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.tasks.answers import Answers
from fda.ui.run.comparison_export import facts, latex
from fda.zoos.zoo import load_zoo

TASKS = ("digits", "faces", "letters")
RATES = {"pretrained": 0.4, "individual": 0.9, "ta": 0.6, "ta:swept": 0.65, "tsv": 0.7, "regmean": 0.8, "fda:ta": 0.75}
SAMPLES = 200
SWEEP = {
    "hyperparameter": "scale",
    "values": [0.1, 0.2],
    "average": [0.5, 0.6],
    "tasks": {task: [0.5, 0.6] for task in TASKS},
    "split": "validation",
}
SETTINGS = {
    "ta": {"scale": 0.3, "selection": "fixed"},
    "ta:swept": {"scale": 0.2, "sweep": SWEEP, "selection": "validation"},
    "tsv": {"scale": 1.0, "selection": "set by hand"},
    "regmean": {"examples": 256, "inputs": "train", "selection": "fixed"},
    "fda:ta": {"distance": "cos", "anchors_seconds": 98.0, "selection": "fixed (zoo file)"},
}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "home")


def new_run(store: Store, **changes: object) -> Run:
    zoo = {"name": "mine", "base": {"model": "/base"}, "tasks": [{"name": task, "model": f"/{task}"} for task in TASKS]}
    zoo |= changes.pop("zoo", {})
    fields = {"zoo": zoo, "zoo_path": "/zoos/mine.yaml", "tasks": TASKS, "construction": FAST_CONSTRUCT}
    spec = RunSpec.model_validate(fields | {"methods": [*RATES, "slerp", "wudi"]} | changes)
    return store.run(store.create_run(spec))


def fill(store: Store, run: Run, *, kept: bool = True, metric: str = "accuracy") -> dict[str, dict[str, np.ndarray]]:
    """A row for each of `RATES` (slerp failed, wudi missing) and its predictions; method → task → what was right."""
    random = np.random.default_rng(0)
    right = {method: {task: random.random(SAMPLES) < rate for task in TASKS} for method, rate in RATES.items()}
    for method, tasks in right.items():
        scores = [Score(method, task, "test", metric, float(own.mean()), SAMPLES) for task, own in tasks.items()]
        settings = SETTINGS.get(method, {"selection": "fixed"})
        store.add_result(run.run_id, MethodResult(method, "done", settings, 0.5, 2**30, None), scores)
        if kept:
            answers = {task: Answers(np.where(own, 1, 0), np.ones(SAMPLES, int)) for task, own in tasks.items()}
            save_predictions(store.run_dir(run.run_id), method, answers)
    store.add_result(run.run_id, MethodResult("slerp", "failed", {}, None, None, "it merges exactly two tasks"))
    return right


@pytest.fixture
def run(store) -> Run:
    return new_run(store)


@pytest.fixture
def found(store, run) -> comparison.Results:
    fill(store, run)
    return comparison.results(store, run)


# rows --------------------------------------------------------------------------------------------------------------------


def test_methods_stand_by_what_they_read_and_failed_and_missing_ones_apart(found):
    assert found.methods == ("pretrained", "individual", "ta", "ta:swept", "tsv", "fda:ta", "regmean")
    assert found.failed == {"slerp": "it merges exactly two tasks"} and found.missing == ["wudi"]
    assert (found.split, found.count, found.metric) == ("test", 3 * SAMPLES, "accuracy")


def test_a_run_without_results_has_none(store, run):
    empty = comparison.results(store, run)
    assert empty.methods == () and empty.normalised is None and empty.count == 0


def test_intervals_are_those_of_the_predictions(store, run):
    right = fill(store, run)
    found = comparison.results(store, run)
    expected = stats.bootstrap(
        tuple(right["tsv"][task].astype(float) for task in TASKS),
        lambda *tasks, axis: sum(task.mean(axis=axis) for task in tasks) / 3,
        n_resamples=5000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.scores.interval_of("tsv") == pytest.approx((expected.low, expected.high), abs=0.006)
    assert found.known_intervals


def test_a_run_that_kept_no_predictions_has_scores_and_no_intervals(store, run):
    fill(store, run, kept=False)
    found = comparison.results(store, run)
    assert not found.known_intervals and math.isnan(found.scores.interval_of("ta")[0])
    assert found.scores.of("ta") == pytest.approx(0.6, abs=0.1)


def test_one_method_without_predictions_does_not_take_the_others_intervals(store, run):
    fill(store, run)
    predictions_file(store.run_dir(run.run_id), "tsv").unlink()
    found = comparison.results(store, run)
    assert math.isnan(found.scores.interval_of("tsv")[0]) and math.isfinite(found.scores.interval_of("ta")[0])


def test_two_metrics_together_are_scores_and_one_keeps_its_name(store, run):
    fill(store, run, metric="matthews")
    assert comparison.results(store, run).metric == "Matthews' correlation"


def test_intervals_are_not_computed_twice_until_predictions_change(store, run, monkeypatch):
    right = fill(store, run)
    first = comparison.results(store, run).scores.interval_of("tsv")
    store.add_system(run.run_id, {"memory_bytes": 1.0})  # the run goes on
    calls = []
    real = comparison.resampled_scores
    monkeypatch.setattr(comparison, "resampled_scores", lambda *args: calls.append(args) or real(*args))
    assert comparison.results(store, run).scores.interval_of("tsv") == first and not calls
    folder = store.run_dir(run.run_id)
    answers = {task: Answers(np.ones(SAMPLES, int), np.ones(SAMPLES, int)) for task in right["tsv"]}
    save_predictions(folder, "tsv", answers)
    assert comparison.results(store, run).scores.interval_of("tsv") == (1.0, 1.0) and len(calls) == 1


def test_a_filter_never_removes_pretrained_and_individual(found):
    assert found.chosen(["tsv"], []) == ["pretrained", "individual", "tsv"]
    assert found.chosen([], ["anchors"]) == ["pretrained", "individual", "fda:ta"]
    assert found.chosen(["tsv"], ["anchors"]) == ["pretrained", "individual"]
    assert found.chosen([], []) == list(found.methods)


def test_every_registered_method_is_of_the_kind_its_needs_say():
    for name, method in METHODS.items():
        if name not in comparison.ALWAYS:
            expected = {"nothing": "weights", "anchors": "anchors", "inputs": "inputs", "labels": "inputs"}[
                method.needs
            ]
            assert comparison.kind_of(name) == expected, name


def test_a_method_that_the_registry_has_no_more_keeps_its_kind_and_name(store, run):
    assert comparison.kind_of("gone", {"inputs": "train"}) == "inputs"
    assert comparison.kind_of("fda:gone") == "anchors" and comparison.kind_of("gone") == "weights"
    assert comparison.titles(["gone"]) == {"gone": "gone"}
    scores = [Score("gone", task, "test", "accuracy", 0.5, 10) for task in TASKS]
    store.add_result(run.run_id, MethodResult("gone", "done", {}, 1.0, None, None), scores)
    found = comparison.results(store, run)
    assert reading_table(found, found.methods)["method"].tolist() == ["gone"]


def test_what_reads_inputs_is_marked_wherever_no_heading_says_so(found):
    marked = comparison.marked_titles(found.kinds)
    assert [name for name, title in marked.items() if title.endswith("†")] == ["regmean"]


def test_the_baseline_is_the_best_method_that_reads_checkpoints_alone(found, store, run):
    assert comparison.default_baseline(found) == "tsv"
    some = replace(found, scores=found.scores.only(["pretrained", "ta", "ta:swept", "regmean", "fda:ta"]))
    assert comparison.default_baseline(some) == "ta"
    assert (
        comparison.default_baseline(replace(found, scores=found.scores.only(["individual", "fda:ta"]))) == "individual"
    )
    assert comparison.default_baseline(comparison.results(store, new_run(store))) is None


def test_settings_leave_out_what_has_a_place_of_its_own():
    assert comparison.settings_text(SETTINGS["ta:swept"]) == "scale 0.2"
    assert comparison.settings_text(SETTINGS["regmean"]) == "examples 256"
    assert comparison.settings_text(SETTINGS["fda:ta"]) == "distance cos"
    assert comparison.settings_text({"selection": "fixed"}) == "none"


def test_what_a_method_needs_is_said_in_words():
    assert comparison.needs_text("ta", SETTINGS["ta"]) == "nothing"
    assert comparison.needs_text("fda:ta", SETTINGS["fda:ta"]) == "anchors"
    assert comparison.needs_text("regmean", SETTINGS["regmean"]) == "real inputs (train)"
    assert comparison.needs_text("adamerging", {"inputs": "test, unlabelled"}) == "real inputs (test, unlabelled)"


def test_a_radar_of_many_shows_the_references_the_baseline_and_the_best():
    names = ("pretrained", "individual", "ta", *(f"m{index}" for index in range(9)))
    values = np.array([[0.1], [0.9], [0.2], *([0.3 + index / 100] for index in range(9))])
    many = comparison.Scores(names, ("x",), values, values[..., None])
    assert comparison.for_radar(many, "ta", picked=False) == [*names[:3], "m4", "m5", "m6", "m7", "m8"]
    assert comparison.for_radar(many, "ta", picked=True) == list(names)


# cited -------------------------------------------------------------------------------------------------------------------


def test_the_papers_numbers_are_there():
    vision, language = cited("fda-vit-b-16"), cited("fda-roberta-large")
    assert vision.averages("weight")["fda:pretrained"] == 0.8726 and vision.averages("gauss")["fda:ta"] == 0.8777
    assert vision.averages()["wudi"] == 0.8885 and language.averages()["fda:ta"] == 0.7183
    assert all(one.link.startswith("https://arxiv.org/abs/") and one.checkpoints for one in all_cited().values())


def test_no_source_names_a_method_twice_for_the_same_anchors():
    for key, one in all_cited().items():
        names = [(value.method, value.init) for value in one.values]
        assert len(names) == len(set(names)), key
        assert {value.init for value in one.values} <= {None, "gauss", "weight"}, key


def test_cited_methods_are_those_of_the_registry_but_for_what_is_kept_for_the_record():
    names = {value.method for one in all_cited().values() for value in one.values}
    assert names - set(METHODS) <= {"regmean_plus_plus"}


def test_an_unknown_key_is_one_sentence_that_suggests_the_right_one():
    with pytest.raises(UserError, match=r"fda-vit-b16.*did you mean fda-vit-b-16"):
        cited("fda-vit-b16")


def test_a_zoo_names_what_it_cites(tmp_path):
    for name in ("base", "digits"):
        (tmp_path / name).mkdir()
    zoo = {"name": "mine", "base": {"model": "base"}, "tasks": [{"name": "digits", "model": "digits"}]}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(zoo | {"cited": "fda-vit-b-16"}))
    assert load_zoo(path).cited == "fda-vit-b-16"
    path.write_text(yaml.safe_dump(zoo))
    assert load_zoo(path).cited is None


def test_cited_numbers_go_with_the_initialisation_of_the_anchors(store):
    zoo = {"cited": "fda-vit-b-16"}
    by_weight = new_run(store, zoo=zoo)
    gauss = FAST_CONSTRUCT.model_copy(update={"init": "gauss"})
    by_gauss = new_run(store, zoo=zoo, construction=gauss)
    later = new_run(store, zoo=zoo, construction=None, anchors_run=by_gauss.run_id)
    orphan = new_run(store, zoo=zoo, construction=None, anchors_run="20260101-000000-dead")
    found = [comparison.cited_for(store, one)[1]["fda:tsv"] for one in (by_weight, by_gauss, later, orphan)]
    assert found == [0.8825, 0.8842, 0.8842, 0.8825]
    assert comparison.cited_for(store, new_run(store)) is None


# tables ------------------------------------------------------------------------------------------------------------------


def test_the_table_to_read_is_in_percent_and_words(found):
    row = reading_table(found, found.methods).set_index("method").loc["FDA (TA)"]
    assert row["average %"] == pytest.approx(100 * found.scores.of("fda:ta"))
    low, high = found.scores.interval_of("fda:ta")
    assert row["95 % interval"] == f"{100 * low:.1f}–{100 * high:.1f}"
    assert (row["reads"], row["chosen"], row["anchors s"], row["peak MiB"]) == ("anchors", "fixed (zoo file)", 98, 1024)
    assert "cited %" not in row


def test_the_table_has_a_column_of_cited_averages_where_there_are_some(found):
    table = reading_table(found, found.methods, {"ta": 0.7394}).set_index("method")
    assert table.loc["Task arithmetic", "cited %"] == pytest.approx(73.94) and math.isnan(table.loc["TSV-M", "cited %"])


def test_the_raw_table_has_exactly_the_rows_shown_with_every_interval(found):
    table = raw_table(found, ["pretrained", "tsv"])
    assert table["method"].tolist() == ["pretrained", "tsv"]
    low, high = found.scores.interval_of("tsv", "faces")
    assert table.loc[1, ["faces_low", "faces", "faces_high"]].tolist() == pytest.approx(
        [low, found.scores.of("tsv", "faces"), high]
    )
    assert table.loc[1, "normalized"] == pytest.approx(found.normalised.of("tsv"))
    read = list(csv.DictReader(io.StringIO(table.to_csv(index=False))))
    assert read[1]["settings"] == "scale 1" and float(read[1]["average"]) == pytest.approx(found.scores.of("tsv"))


WORDS = pd.DataFrame({
    "method": ["a_b 50%", "Individual", "c|d & {e}"],
    "average %": [71.24, 99.0, 71.21],
    "note": ["x~y^2", "", "back\\slash $1 #2"],
    "seconds": [0.0634, None, 12.0],
})  # fmt: skip


def test_markdown_escapes_all_markup_and_has_as_many_cells_in_every_line():
    lines = to_markdown(WORDS).splitlines()
    assert lines[1] == "| --- | ---: | --- | ---: |"
    assert lines[2] == r"| a\_b 50% | 71.2 | x\~y^2 | 0.063 |" and lines[3] == "| Individual | 99.0 | – | – |"
    assert lines[4].startswith(r"| c\|d \& {e} | 71.2 | back\\slash \$1 \#2")
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {6}


def test_latex_escapes_every_special_character():
    text = to_latex(WORDS, caption="5 % of a_b & c")
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    assert r"a\_b 50\%" in body and r"c|d \& \{e\}" in body and r"\$1 \#2" in body and r"\textbackslash" in body
    assert r"average \%" in text and r"\caption{5 \% of a\_b \& c}" in text
    assert not re.search(r"(?<!\\)[%_#$]", "\n".join(text.splitlines()[1:]).replace("{\\", ""))
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule")) and "\\hline" not in text


def test_latex_has_the_best_of_a_column_bold_and_not_what_does_not_compete():
    text = to_latex(WORDS, best=["average %"], never_best=["Individual"])
    assert text.count("\\textbf{71.2}") == 2, "what prints equal is equally bold"
    assert "\\textbf{99.0}" not in text and "Individual & 99.0 &" in text


def test_the_tables_latex_excludes_the_individual_models(store, run, found):
    text = latex(run, found, ComparisonView(found.methods, False, "ta"), None)
    line = next(line for line in text.splitlines() if line.startswith("Individual"))
    assert "textbf" not in line and text.count("\\textbf") == 1 + len(TASKS) + 1
    assert "settings" not in text


def test_html_escapes_what_it_shows():
    text = to_html(pd.DataFrame({"method": ["<script>alert(1)</script>"], "n": [1.0]}))
    assert "<script" not in text and "&lt;script&gt;" in text


# figures and report ------------------------------------------------------------------------------------------------------


def test_a_sweep_is_shown_only_while_a_swept_method_is(found):
    assert "Sweep" in names_of(found, ComparisonView(found.methods, False, "ta"))
    assert "Sweep" not in names_of(found, ComparisonView(("pretrained", "tsv"), True, "ta"))


@pytest.mark.parametrize("normalised", [False, True])
def test_every_drawing_obeys_scale_and_filter(found, normalised):
    shown = tuple(found.chosen(["ta", "ta:swept", "fda:ta"], []))
    view = ComparisonView(shown, True, "tsv", normalised=normalised)
    drawn = drawings(found, view, "light")
    assert list(drawn) == names_of(found, view)
    bars = drawn["Bars"].make().data[0]
    expected = found.normalised if normalised else found.scores
    assert set(bars.y) == {"Pretrained", "Individual", "Task arithmetic", "Task arithmetic, swept", "FDA (TA)"}
    assert bars.x[list(bars.y).index("FDA (TA)")] == pytest.approx(100 * expected.of("fda:ta"))
    cells = drawn["Differences"].make().data[0]
    at = list(cells.y).index("FDA (TA)")
    assert cells.z[at][-1] == pytest.approx(100 * (expected.of("fda:ta") - expected.of("tsv")), abs=1e-4)
    assert "TSV-M" not in cells.y, "the baseline is pinned, not shown"
    ends = {one.name: one for one in drawn["Gains"].make().data}
    assert ends["TSV-M"].x.tolist() == pytest.approx(100 * expected.table[found.methods.index("tsv")])
    assert ends["FDA (TA)"].text[-1] == f"{100 * expected.of('fda:ta'):.1f}"
    gain, (low, high) = expected.minus("tsv").of("fda:ta"), expected.minus("tsv").interval_of("fda:ta")
    told = f"{100 * gain:+.1f}{'*' if low > 0 or high < 0 else ''} ({100 * low:+.1f} to {100 * high:+.1f})"
    assert ends["FDA (TA)"].y[-1] == f"<b>average</b><br>{told.replace('-', '−')}"
    assert all(drawing.make() for drawing in drawn.values())


def test_a_normalised_scale_without_individual_models_is_the_plain_one(store, run):
    scores = [Score("ta", task, "test", "accuracy", 0.5, 10) for task in TASKS]
    store.add_result(run.run_id, MethodResult("ta", "done", {}, 1.0, None, None), scores)
    found = comparison.results(store, run)
    drawn = drawings(found, ComparisonView(("ta",), False, "ta", normalised=True), "light")
    assert drawn["Bars"].make().data[0].x == pytest.approx([50])
    assert drawn["Differences"].make is None and "Only Task arithmetic" in drawn["Differences"].sentence
    assert drawn["Gains"].make is None


def test_two_tasks_have_a_sentence_instead_of_a_radar(store):
    run = new_run(store, tasks=TASKS[:2])
    fill(store, run)
    found = comparison.results(store, run)
    drawing = drawings(found, ComparisonView(found.methods, False, "ta"), "light")["Radar"]
    assert drawing.make is None and "at least 3 tasks" in drawing.sentence


def test_sentences_say_what_must_be_known(found):
    drawn = drawings(found, ComparisonView(found.methods, False, "ta", cost="peak memory"), "light")
    assert "600 test samples" in drawn["Bars"].sentence
    assert "whole process" in drawn["Cost"].sentence and "† reads real inputs" in drawn["Cost"].sentence
    assert "validation split" in drawn["Sweep"].sentence and "test split" in drawn["Sweep"].sentence
    assert "excludes 0" in drawn["Differences"].sentence


def test_the_report_is_one_file_that_opens_offline(run, found):
    view = ComparisonView(found.methods, False, "ta")
    drawn = drawings(found, view, "dark")
    text = report(
        "mine <compared>",
        facts=facts(run, found) | {"Made": "by `a <b>`"},
        table=reading_table(found, view.methods),
        figures={name: (one.make(), one.sentence) for name, one in drawn.items()},
        notes=["a note & more"],
        theme="dark",
    )
    assert text.count("plotly.js v") == 1, "the library once"
    assert "<dd>by <code>a &lt;b&gt;</code></dd>" in text
    assert len(re.findall(r"Plotly\.newPlot\(", text)) >= len(drawn) == 7
    assert not re.search(r'<(script|link)[^>]+(src|href)="http', text)
    assert "mine &lt;compared&gt;" in text and "a note &amp; more" in text and PALETTES["dark"].page in text
    assert run.run_id in text and "python -m fda construct" in text


def test_an_exported_figure_asks_nothing_of_the_network(found):
    figure = drawings(found, ComparisonView(found.methods, False, "ta"), "dark")["Bars"].make()
    text = standalone_html(figure)
    assert not re.search(r'<(script|link)[^>]+(src|href)="http', text)
    assert "Plotly.newPlot" in text and PALETTES["dark"].page in text
    assert '"showSendToCloud": false' in text


def test_what_can_do_without_streamlit_does():
    modules = ", ".join(f"fda.report.{name}" for name in ("cited", "comparison", "comparison_figures", "comparison_tables",
                                                          "markup", "html"))  # fmt: skip
    code = f"import sys, {modules}; print([name for name in ('streamlit', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_notes_on_labels_and_samples_are_shown_once_for_all_methods():
    settings = {"labels": {"red": "labels are taken by number"}, "samples": {"red": "1 of 150 rows is bad"}}
    found = comparison.Results(None, {"ta": settings, "individual": settings}, {}, {}, {}, [], "test", 2, "accuracy")
    assert found.data_notes == ["red: labels are taken by number", "red: 1 of 150 rows is bad"]
    assert comparison.settings_text(settings | {"scale": 0.3}) == "scale 0.3"
