"""Speed: results of every kind are shown with their figure, table, machine and command; what is none is passed over."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from fda.home import REPO
from fda.store import bench_results as results
from fda.store.bench_results import keep_result, kept_results, new_result
from fda.ui import speed

PATH = {
    "step_ms": [10.0, 9.0, 12.0],
    "compile_seconds": 0.0,
    "steps": 3,
    "extrapolated": False,
    "peak_bytes": 2**30,
    "share_of_ceiling": 0.25,
    "losses": [0.9, 0.5, 0.3],
    "seconds": [1.0, 2.0, 3.0],
}
CONSTRUCT = {
    "size": "vit-b-32",
    "device": "cpu",
    "threads": 2,
    "reference_steps": 3,
    "target": 0.3,
    "target_measured": True,
    "operations_per_step": 2e9,
    "paths": [
        PATH | {"path": "reference", "steps_to_target": 3, "seconds_to_target": 3.0},
        PATH | {"path": "fast, compiled", "steps_to_target": 1, "seconds_to_target": 0.5},
        PATH | {"path": "fast, bfloat16", "steps_to_target": None, "seconds_to_target": None},
    ],
}
MERGE = {
    "blocks": 12,
    "tasks": 8,
    "repeats": 3,
    "threads": 2,
    "rows": [
        {"method": "tsv", "path": "plain", "seconds": [9.0, 8.0, 10.0], "peak_bytes": 200},
        {"method": "tsv", "path": "ours", "seconds": [3.0, 2.5, 3.5], "peak_bytes": 150},
    ],
    "difference": {"tsv": 1e-6},
}
EVALUATE = {
    "zoo": "demo",
    "models": 8,
    "samples": 1737,
    "device": "cpu",
    "threads": 2,
    "repeats": 3,
    "equal": True,
    "rows": [{"path": "one by one", "seconds": [6.0, 5.0, 7.0]}, {"path": "one pass", "seconds": [3.0, 2.0, 4.0]}],
}
PAGE = {
    "points": 12000,
    "rows": [
        {"name": "cold start", "unit": "s", "typical": 1.5, "least": 1.0, "most": 2.5, "limit": 2.0, "kept": True},
        {"name": "live update, sent", "unit": "KB", "typical": 150.0, "least": 1.0, "most": 2.5, "limit": 100.0,
         "kept": False},
    ],
}  # fmt: skip
FOUND = {"construct": CONSTRUCT, "merge": MERGE, "evaluate": EVALUATE, "page": PAGE}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path))
    return tmp_path


def keep(kind: str, date: float = 1.8e9) -> str:
    return keep_result(
        results.Result(kind, f"python -m fda bench {kind} --x 1", date, results.machine(), [FOUND[kind]])
    ).stem


def page(**query: str) -> AppTest:
    at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    at.switch_page("speed.py").run()
    assert not at.exception, at.exception
    return at


def drawn(at: AppTest) -> list[dict]:
    found = [json.loads(element.proto.json) for element in at.get("bidi_component") if element.proto.json]
    return [json.loads(data["figure"]) for data in found if "figure" in data]


def test_an_empty_page_names_the_commands():
    at = page()
    assert "python -m fda bench construct" in at.info[0].value
    assert at.code[0].value.splitlines() == [f"python -m fda bench {kind}" for kind in results.KINDS]


@pytest.mark.parametrize("kind", results.KINDS)
def test_every_kind_has_a_figure_a_table_and_its_command(kind):
    keep(kind)
    at = page()
    assert len(drawn(at)) == len(at.dataframe) == 1
    assert at.code[0].value.startswith(f"python -m fda bench {kind} --x 1\n")
    words = "\n".join(one.value for one in at.caption)
    assert "cores" in words and "2027-01-15" in words


def test_construct_draws_loss_against_seconds_and_tells_ratios():
    keep("construct")
    at = page()
    (figure,) = drawn(at)
    assert [trace["name"] for trace in figure["data"]] == ["reference", "fast, compiled", "fast, bfloat16"]
    assert figure["layout"]["xaxis"]["type"] == "log" and figure["layout"]["shapes"][0]["y0"] == 0.3
    table = at.dataframe[0].value
    assert table["times faster"].tolist()[:2] == [1.0, 6.0] and table["times faster"].isna().tolist() == [
        False,
        False,
        True,
    ]


def test_a_target_that_the_loop_did_not_reach_itself_is_told():
    def note(**changes) -> str:
        return speed.measurements(results.Result("construct", "", 0.0, {}, [CONSTRUCT | changes]), "light")[0].note

    assert "3 steps, measured." in note()
    assert "by at most 1.8% where both were run" in note(target_measured=False, target_deviation=0.018)


def test_a_ratio_is_of_the_plain_way_of_the_same_method():
    table = speed.measurements(results.Result("merge", "", 0.0, {}, [MERGE]), "light")[0].table
    assert table["times faster"].tolist()[1] == 3.0 and table["memory"].tolist()[1] == 0.75
    table = speed.measurements(results.Result("evaluate", "", 0.0, {}, [EVALUATE]), "dark")[0].table
    assert table["times faster"].tolist() == [1.0, 2.0]


def test_a_passed_limit_is_seen_without_colour():
    keep("page")
    at = page()
    bars = drawn(at)[0]["data"][0]
    assert bars["marker"]["pattern"]["shape"] == ["", "/"] and at.dataframe[0].value["kept"].tolist() == ["yes", "no"]


def test_the_newest_comes_first_and_the_url_chooses():
    older, newer = keep("merge", 1.7e9), keep("page", 1.8e9)
    assert [path.stem for path, _ in kept_results()] == [newer, older]
    assert page().selectbox(key="of").value == newer
    chosen = page(of=older)
    assert chosen.selectbox(key="of").value == older and "Merging" in chosen.download_button[0].label


def test_an_unknown_result_in_the_url_is_a_notice():
    keep("page")
    assert "no-such" in page(of="no-such").error[0].value


def test_files_that_are_no_results_are_passed_over_and_a_torn_one_is_told(home):
    keep("page")
    for name, text in {"a": "{", "b": "[]", "c": '{"kind": "page"}', "d": '"x"'}.items():
        (home / "bench" / f"{name}.json").write_text(text)
    assert len(kept_results()) == 1
    keep_result(results.Result("merge", "", 1.9e9, {}, [{"rows": 3}]))
    assert "measure it again" in page().error[0].value


def test_a_result_knows_its_command_and_machine(monkeypatch):
    monkeypatch.setattr("sys.argv", ["fda", "bench", "page", "--json", "a file.json"])
    made = new_result("page", [PAGE], "H200")
    assert made.command == "python -m fda bench page --json 'a file.json'"
    assert made.machine["cores"] >= 1 and made.machine["device"] == "H200" and made.machine["torch"]
    assert speed.machine_words(made).startswith("H200, ")
