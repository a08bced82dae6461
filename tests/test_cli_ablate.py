"""`python -m fda ablate` as people type it: five real runs, a table, nothing twice, one line for what is wrong."""

import json

import pytest

from fda.store.store import Store


def test_five_starts_are_run_told_and_not_run_again(fda_home, fda, tiny_zoo, tmp_path):
    out = tmp_path / "rows.json"
    words = ("ablate", "--zoo", tiny_zoo, "--tasks", "red", "--blocks", "0", "--steps", "2", "--device", "cpu")
    made = fda(*words, "--json", out)
    assert made.returncode == 0, made.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [(row["init"], row["sigma"]) for row in rows] == [
        ("weight", None),
        *(("gauss", s) for s in (1e-4, 1e-2, 1, 10)),
    ]
    store = Store(fda_home)
    for row in rows:
        (values,) = (values for _, values in store.scalars(row["run"], "angle_loss").values())
        assert row["angle_loss"] == {"first": values[0], "last": values[-1], "units": 1}
    table = made.stdout.splitlines()
    assert table[0].split()[:3] == ["init", "angle", "loss"] and table[1].startswith("weight ")
    assert table[-1] == f"page: /anchors?run={rows[0]['run']}&runs={','.join(row['run'] for row in rows[1:])}"
    store.delete_run(rows[2]["run"])
    again = fda(*words, "--json", out)
    repeated = json.loads(out.read_text())["rows"]
    assert again.returncode == 0 and len(store.runs()) == 5
    assert [row["run"] for place, row in enumerate(repeated) if place != 2] == [
        row["run"] for place, row in enumerate(rows) if place != 2
    ]
    assert repeated[2]["angle_loss"] == rows[2]["angle_loss"], "the same run again gives the same"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--preset", "slow"), "there is no preset 'slow'"),
        (("--tasks", "rde"), "did you mean red"),
        (("--steps", "0"), "steps"),
    ],
)
def test_a_wrong_request_is_one_line(fda, tiny_zoo, words, says):
    done = fda("ablate", "--zoo", tiny_zoo, *words)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
