"""`fda bench store` measures every read on a store that has the asked-for rows, and leaves nothing behind."""

import json


def test_the_reads_of_a_small_store_are_measured(fda, tmp_path):
    done = fda("bench", "store", "--runs", 4, "--scalars", 20_000, "--repeats", 1, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["runs"] == 4 and 15_000 < result["scalars"] < 25_000
    rows = {row["name"]: row for row in result["rows"]}
    assert all(row["typical"] > 0 for row in rows.values()) and rows["Home: the table of runs"]["few"] > 0
    assert "Compare: 40 runs" in done.stdout and "doctor, all checks" in done.stdout
