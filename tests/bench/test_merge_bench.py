"""The merge benchmark measures both paths on the same files, and its plain ports merge as the methods do."""

import pytest

from fda.bench import merge
from fda.bench.merge import PLAIN, bench_merge, plain_merge
from tests.support.states import assert_close, random_states, run


@pytest.mark.parametrize("name", PLAIN)
def test_plain_ports_are_the_methods(name):
    base, finetuned = random_states(3, partly_still=False)
    assert_close(run(name, base, finetuned), dict(plain_merge(PLAIN[name], base, finetuned)), base)


def test_both_paths_are_measured_and_agree(monkeypatch):
    monkeypatch.setattr(merge, "SHAPES", {"mlp.weight": (96, 80), "mlp.bias": (96,)})
    found = bench_merge(("iso_c", "average"), blocks=1, tasks=2, repeats=1, threads=1)
    assert [(row["method"], row["path"]) for row in found["rows"]] == [
        ("iso_c", "plain"), ("iso_c", "ours"), ("average", "ours")
    ]  # fmt: skip
    assert all(row["seconds"][0] > 0 and row["peak_bytes"] > 50 * 2**20 for row in found["rows"])
    assert 0 < found["difference"]["iso_c"] < 1e-4
