"""The page of several runs: figures of all, the settings that differ, and one sentence for what is not there."""

from tests.pages.test_pages import UNKNOWN, figures, finished, page, store, text, zoo  # noqa: F401 (fixtures)


def test_two_runs_lie_in_the_same_figures(store, zoo):  # noqa: F811
    ids = [finished(store, zoo) for _ in range(2)]
    at = page("runs", runs=",".join(ids))
    assert {alt.split(",")[0] for alt in figures(at)} == {
        "Average score of each method",
        "Mean angle loss over steps",
        "Mean spectrum of the anchors at the last step",
    }
    assert not at.error and len(at.dataframe[0].value) == 1, "the same settings: one group"


def test_what_is_not_there_is_one_sentence(store, zoo):  # noqa: F811
    run_id = finished(store, zoo)
    at = page("runs", runs=f"{run_id},{UNKNOWN}")
    assert len(at.error) == 1 and "Select two or more runs" in text(at)
    assert "Select two or more runs" in text(page("runs"))
