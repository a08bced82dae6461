"""The adaptation benchmark runs every path on the same batches, and they end at the same block."""

from fda.bench.adapt import REFERENCE, STARTS, bench_adapt


def test_all_paths_end_where_the_papers_loop_ends():
    found = bench_adapt("demo", tasks=2, epochs=2, threads=1, paths=("plain",))
    assert [(row["start"], row["path"]) for row in found["rows"]] == [
        (start, path) for start in STARTS for path in (REFERENCE, "plain")
    ]
    assert (found["anchors"], found["tokens"], found["batch"]) == (64, 17, 128)
    for row in found["rows"]:
        typical, least, most = row["seconds"]
        assert 0 < least <= typical <= most
        assert row["difference"] == 0 if row["path"] == REFERENCE else 0 < row["difference"] < 1e-3
