"""Panels of the view Analyses: computed by a helper run, kept with the run, against plain formulas; and by the command line."""

import json

import pytest
import torch

from fda.cancel import NEVER
from fda.cli import app as cli
from fda.errors import UserError
from fda.requests.analyses import analysis_spec
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.stages.worker import run_here
from fda.store.analyses import PANELS, Table, analysis_file, load_table
from fda.store.files import load_anchors
from fda.store.records import Run
from fda.store.store import Store, queue_of
from fda.tasks.data import load_split
from fda.zoos.survey import open_zoo

TASK, BLOCK, LAYER = "bright", 1, "mlp.c_fc.weight"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def run(store, tiny_zoo) -> Run:
    """A finished run with anchors and methods, and all of its panels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(store.home))
        settings = construct_settings("fast", steps=4, anchors=4)
        run_id = store.create_run(make_spec(tiny_zoo, construct=settings, methods=("ta", "tsv"), device="cpu"))
        execute(store, run_id, NEVER)
        store.set_state(run_id, "done")
        helper = store.create_run(analysis_spec(store.run(run_id), PANELS))
        assert run_here(store, helper) == "done", store.run(helper).message
        return store.run(run_id)


def table(store: Store, run: Run, panel: str) -> Table:
    found = load_table(store.run_dir(run.run_id), panel)
    assert found is not None
    return found


def rows(found: Table, **where: object) -> dict[str, list]:
    """The columns of the rows with these values."""
    chosen = [at for at in range(len(found)) if all(found.columns[name][at] == value for name, value in where.items())]
    return {name: [values[at] for at in chosen] for name, values in found.columns.items()}


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0).item()


def test_covariance_agrees_with_inputs_that_a_hook_sees(store, run):
    opened = open_zoo(run.spec.zoo, run.spec.tasks)
    opened.model.load(opened.tasks[TASK])
    module, seen = opened.model.blocks[BLOCK].module.mlp.c_fc, []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(0, -2).double()))
    split = load_split(opened.zoo.task(TASK), "train", opened.model.transform)
    everything = range(len(split))
    with torch.no_grad():
        opened.model.outputs(split.at(everything[::2]))
        opened.model.outputs(split.at(everything[1::2]))
        anchors = load_anchors(
            store.run_dir(run.run_id),
            TASK,
            BLOCK,
            base=opened.base.fingerprint,
            finetuned=opened.tasks[TASK].fingerprint,
        )
        opened.model.blocks[BLOCK].module(anchors)
    real, again, anchor = (x.T @ x for x in seen)
    name = opened.model.blocks[BLOCK].prefix + LAYER
    tau = (opened.tasks[TASK][name] - opened.base[name]).double()
    (row,) = zip(*rows(table(store, run, "covariance"), task=TASK, block=BLOCK, layer=LAYER).values(), strict=True)
    expected = [cosine(tau.T @ tau, real), cosine(anchor, real), cosine(again, real), cosine(torch.eye(16), real)]
    assert row[3:] == pytest.approx(expected, abs=1e-5)


def test_an_analysis_waits_for_its_device(run):
    assert queue_of(analysis_spec(run, PANELS)) == "cpu"


def test_the_command_line_prints_what_the_page_shows(store, run, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FDA_HOME", str(store.home))
    path, out = analysis_file(store.run_dir(run.run_id), "covariance"), tmp_path / "a.json"
    before, helpers = path.read_text(), len(store.runs(kinds=("analysis",)))
    words = ["analyse", run.run_id, "--panels", "covariance", "--json", str(out)]
    cli.app(words, standalone_mode=False)
    assert json.loads(out.read_text()) == {"covariance": json.loads(before)}
    shown, kept = capsys.readouterr().out, table(store, run, "covariance").columns["anchors"][-1]
    assert f"{kept:.4f}" in shown and len(store.runs(kinds=("analysis",))) == helpers, (
        "what is kept is not computed again"
    )
    path.write_text("{}")
    with pytest.raises(UserError, match="delete the file"):
        cli.app(words, standalone_mode=False)
    cli.app([*words, "--fresh", "--device", "cpu"], standalone_mode=False)
    assert path.read_text() == before
    with pytest.raises(UserError, match="no panel 'lost': choose from covariance"):
        cli.app(["analyse", run.run_id, "--panels", "lost"], standalone_mode=False)


@pytest.mark.parametrize(
    "content",
    ["[]", '{"columns": {}, "notes": []}', '{"columns": {"task": [1]}, "notes": []}', "[" * 100_000],
    ids=["a list", "no columns", "wrong kind", "deep"],
)
def test_a_file_that_another_program_wrote_is_one_sentence(tmp_path, content):
    path = analysis_file(tmp_path, "covariance")
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(UserError, match="cannot be read: delete the file"):
        load_table(tmp_path, "covariance")
