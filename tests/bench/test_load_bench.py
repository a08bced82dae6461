"""Measuring the server under load: visitors of a real run, and how growth of memory is reckoned."""

import pytest

from fda.bench.load import Seen, bench_load


def test_growth_is_from_the_second_tenth_of_the_updates_to_the_last():
    seen = Seen(memory=[50, 90, 100, 104, *[700] * 14, 105, 109])
    assert seen.growth == pytest.approx(100 * (107 / 102 - 1))


@pytest.mark.timeout(300)
def test_two_visitors_of_a_run_at_work():
    found = bench_load(sessions=2, updates=10, pause=0.2)
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == 7 and found["begun_anew"] == 0
    assert 0 < rows["update, median"]["value"] <= rows["update, longest"]["value"]
    assert rows["an answer"]["value"] > 1, "figures came, not only words"
    assert {name for name, row in rows.items() if row["limit"]} == {
        "update, median", "update, 95th percentile", "its growth",
    }  # fmt: skip
