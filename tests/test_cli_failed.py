"""What `compare` tells of methods that failed: a list with the log's path and exit code 1, and 0 where the request lacked
something."""

import pytest
import torch
import typer

from fda.cli import start
from fda.merging.registry import METHODS
from fda.requests.runs import make_spec
from fda.store.store import Store


@pytest.fixture
def broken(monkeypatch):
    def merge(base, finetuned, **_):
        raise torch.linalg.LinAlgError("svd did not converge")
        yield

    monkeypatch.setitem(METHODS, "tsv", METHODS["tsv"].__class__(**vars(METHODS["tsv"]) | {"merge": merge}))


def test_a_method_that_failed_by_our_fault_ends_with_1_and_is_listed(fda_home, tiny_zoo, broken, capsys):
    with pytest.raises(typer.Exit) as ended:
        start.compare(str(tiny_zoo), methods="tsv,ta", device="cpu")
    assert ended.value.exit_code == 1
    said = capsys.readouterr()
    (run,) = Store().runs()
    log = Store().run_dir(run.run_id) / "log.txt"
    assert run.state == "done" and "Traceback" in log.read_text()
    assert said.err.splitlines()[-1] == f"fda: 1 of 4 methods failed: tsv (more in {log})."
    assert f" failed: a matrix is singular or could not be decomposed: svd did not converge (see {log})" in said.out


def test_a_method_that_the_request_gave_no_anchors_is_no_failed_run(fda_home, tiny_zoo, capsys):
    start.compare(str(tiny_zoo), methods="ta,fda:ta", device="cpu")
    assert (
        "failed: fda:ta needs anchors: name a finished construct run with --anchors RUN_ID." in capsys.readouterr().out
    )


def test_compare_adapts_the_blocks_that_a_run_of_some_blocks_has(fda_home, tiny_zoo, capsys):
    start.construct(str(tiny_zoo), blocks="1", device="cpu", steps=1, anchors=2)
    (source,) = Store().runs()
    start.compare(str(tiny_zoo), anchors=source.run_id, methods="fda:ta", device="cpu")
    sentence = (
        f"fda: only block 1 is adapted, as run {source.run_id} has anchors of no other block; "
        "the others stay as in the base."
    )
    assert sentence in capsys.readouterr().err
    run = Store().runs()[0]
    assert run.spec.blocks == (1,) and run.spec == make_spec(
        tiny_zoo, blocks=(1,), methods=("fda:ta",), anchors_run=source.run_id, device="cpu"
    )
    assert {one.method: one.state for one in Store().results(run.run_id)[0]}["fda:ta"] == "done"
