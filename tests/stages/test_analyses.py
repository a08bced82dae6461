"""Panels of the view Analyses: computed by a helper run, kept with the run, against plain formulas; and by the command line."""

import json

import numpy as np
import pytest
import torch

from fda.cancel import NEVER
from fda.checkpoints.weights import Checkpoint
from fda.cli import app as cli
from fda.errors import UserError
from fda.requests.analyses import analysis_spec
from fda.requests.helper_runs import result, zoo_analysis_spec
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.stages.worker import run_here
from fda.stages.zoo_analyses import zoo_tables
from fda.store.analyses import PANELS, ZOO_PANELS, Table, analysis_file, load_table, table_from
from fda.store.files import load_anchors, merged_file
from fda.store.records import Run
from fda.store.store import Store, queue_of
from fda.tasks.data import load_split
from fda.tasks.heads import task_head
from fda.tasks.inputs import block_inputs
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


def test_what_a_merged_update_keeps_agrees_with_plain_formulas(store, run):
    opened = open_zoo(run.spec.zoo, run.spec.tasks)
    merged = Checkpoint(merged_file(store.run_dir(run.run_id), "ta"))
    found, of_matrices = [], []
    for block in opened.model.blocks:
        for name in (block.prefix + layer for layer, shape in block.shapes.items() if len(shape) == 2):
            update, tau = (
                weights[name].double() - opened.base[name].double() for weights in (merged, opened.tasks[TASK])
            )
            left, values, _ = np.linalg.svd(update.numpy())
            norms = np.sqrt(np.cumsum(values**2))
            kept = int(np.argmax(norms > 0.95 * norms[-1])) + 1
            space = left[:, :kept] @ left[:, :kept].T
            found.append(np.linalg.norm(space @ tau.numpy()) / np.linalg.norm(tau.numpy()))
            if block.index == BLOCK:
                parts = left[:, 0] @ update.numpy(), left[:, 0] @ tau.numpy()
                of_matrices.append(float(parts[0] @ parts[1] / (parts[1] @ parts[1])))
    (aligned,) = zip(*rows(table(store, run, "alignment"), method="ta", task=TASK).values(), strict=True)
    assert aligned[2] == pytest.approx(np.mean(found), abs=1e-4)
    scores = {(one.method, one.task): one.value for one in store.results(run.run_id)[1]}
    low, high = scores["pretrained", TASK], scores["individual", TASK]
    assert aligned[4] == pytest.approx((scores["ta", TASK] - low) / (high - low), nan_ok=True)
    counted = rows(table(store, run, "over_accumulation"), method="ta", task=TASK, block=BLOCK, rank=1)["counted"]
    assert counted == pytest.approx([torch.tensor(of_matrices).median().item()], rel=1e-3)


def test_drift_splits_into_what_came_from_below_and_what_the_block_adds(store, run):
    """Blocks as pure functions on the states of both models; of the second block both parts are there, of the first one."""
    opened = open_zoo(run.spec.zoo, run.spec.tasks)
    merged = Checkpoint(merged_file(store.run_dir(run.run_id), "ta"))
    split = load_split(opened.zoo.task(TASK), "test", opened.model.transform)
    states = []
    with torch.no_grad():
        for weights in (merged, opened.tasks[TASK]):
            opened.model.load(weights)
            states.append(block_inputs(opened.model, split.at(range(len(split)))))
        (first, second), (ours, theirs) = opened.model.blocks, zip(*states, strict=True)
        assert torch.equal(*ours), "nothing below the blocks is merged"
        at_first = first(first.of(merged), ours[1]), first(first.of(opened.tasks[TASK]), ours[1])
        at_second = [second(second.of(merged), x) for x in theirs]
        expert = second(second.of(opened.tasks[TASK]), theirs[1])

    def squares(states: torch.Tensor) -> float:
        return states.double().square().sum().item()

    own = squares(at_first[0] - at_first[1]) / squares(at_first[1])
    found = rows(table(store, run, "drift"), method="ta", task=TASK)
    assert [found[part][0] for part in ("drift", "inherited", "own")] == pytest.approx([own, 0, own], rel=1e-4)
    parts = (at_second[0] - expert, at_second[0] - at_second[1], at_second[1] - expert)
    expected = [squares(part) / squares(expert) for part in parts]
    assert [found[part][1] for part in ("drift", "inherited", "own")] == pytest.approx(expected, rel=1e-4)


def test_a_matrix_has_the_interference_of_its_tasks_and_its_conflicts(store, run):
    opened = open_zoo(run.spec.zoo, run.spec.tasks)
    name = opened.model.blocks[BLOCK].prefix + LAYER
    taus = [(weights[name] - opened.base[name]).double() for weights in opened.tasks.values()]
    triples = [np.linalg.svd(tau.numpy(), full_matrices=False) for tau in taus]
    keep = min(taus[0].shape) // len(taus)
    left = np.concatenate([u[:, :keep] for u, _, _ in triples], axis=1)
    values = np.concatenate([s[:keep] for _, s, _ in triples])
    right = np.concatenate([vt[:keep] for _, _, vt in triples])
    itself = np.eye(len(values))
    expected = np.abs((left.T @ left - itself) @ np.diag(values) @ (right @ right.T - itself)).sum()
    found = rows(table(store, run, "interference"), block=BLOCK, layer=LAYER)
    assert found["interference"] == pytest.approx([expected], rel=1e-3)
    conflict = [((a * b) < 0).sum() / ((a * b) != 0).sum() for i, a in enumerate(taus) for b in taus[:i]]
    assert found["sign conflict"] == pytest.approx([torch.stack(conflict).mean().item()], abs=1e-6)


def test_an_analysis_waits_for_its_device(run):
    assert queue_of(analysis_spec(run, PANELS)) == "cpu"


def test_the_command_line_prints_what_the_page_shows(store, run, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FDA_HOME", str(store.home))
    path, out = analysis_file(store.run_dir(run.run_id), "covariance"), tmp_path / "a.json"
    before, helpers = path.read_text(), len(store.runs(kinds=("analysis",)))
    words = ["analyse", run.run_id, "--panels", "covariance", "--json", str(out)]
    cli.app(words, standalone_mode=False)
    assert json.loads(out.read_text()) == {"covariance": json.loads(before)}
    with pytest.raises(UserError, match="--device is read only where something is computed"):
        cli.app([*words, "--device", "cpu"], standalone_mode=False)
    shown, kept = capsys.readouterr().out, table(store, run, "covariance").columns["anchors"][-1]
    assert f"{kept:.4f}" in shown and len(store.runs(kinds=("analysis",))) == helpers, (
        "what is kept is not computed again"
    )
    path.write_text("{}")
    with pytest.raises(UserError, match="delete the file"):
        cli.app(words, standalone_mode=False)
    cli.app([*words, "--fresh", "--device", "cpu"], standalone_mode=False)
    assert path.read_text() == before
    with pytest.raises(UserError, match="no panel .lost.: choose from covariance, interference"):
        cli.app(["analyse", run.run_id, "--panels", "lost"], standalone_mode=False)


def test_a_page_and_the_command_line_find_the_same_of_a_zoo(store, run, tiny_zoo, monkeypatch, capsys):
    monkeypatch.setenv("FDA_HOME", str(store.home))
    helper = store.create_run(zoo_analysis_spec(tiny_zoo, run.spec.zoo))
    assert run_here(store, helper) == "done", store.run(helper).message
    interference, counted = (table_from(panel, result(store, helper)[panel]) for panel in ZOO_PANELS)
    assert interference == table(store, run, "interference")
    capsys.readouterr()
    cli.app(["zoo", "show", str(tiny_zoo), "--interference", "--json"], standalone_mode=False)
    shown = json.loads(capsys.readouterr().out)
    assert [table_from(panel, shown[panel]) for panel in ZOO_PANELS] == [interference, counted]
    cli.app(["zoo", "show", str(tiny_zoo), "--interference"], standalone_mode=False)
    out = capsys.readouterr().out
    assert all(
        f"{numbers[-1]:.4f}" in out for numbers in (interference.columns["interference"], counted.columns["counted"])
    )


def test_the_sum_of_a_zoo_counts_a_task_as_often_as_plain_formulas_say(store, run):
    opened = open_zoo(run.spec.zoo)
    block = opened.model.blocks[BLOCK]
    of_matrices = []
    for name in (block.prefix + layer for layer, shape in block.shapes.items() if len(shape) == 2):
        taus = {task: (weights[name] - opened.base[name]).double().numpy() for task, weights in opened.tasks.items()}
        update = sum(taus.values())
        first = np.linalg.svd(update)[0][:, 0]
        of_matrices.append((first @ update) @ (first @ taus[TASK]) / np.square(first @ taus[TASK]).sum())
    first_rank = rows(zoo_tables(run.spec.zoo)["over_accumulation"], task=TASK, block=BLOCK, rank=1)
    assert first_rank["counted"] == pytest.approx([torch.tensor(of_matrices).median().item()], rel=1e-3)


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


def test_tasks_added_ends_where_the_run_does(store, run):
    """With all tasks the merged model is the run's, so its scores are; two tasks are the first two."""
    found = table(store, run, "tasks_added")
    scores = {(one.method, one.task): one.value for one in store.results(run.run_id)[1]}
    count = len(run.spec.tasks)
    end = rows(found, method="ta", tasks=count)
    assert end["task"] == list(run.spec.tasks)
    assert end["score"] == pytest.approx([scores["ta", task] for task in run.spec.tasks])
    shares = [scores["ta", task] / scores["individual", task] for task in run.spec.tasks]
    assert end["normalised"] == pytest.approx(shares)
    assert set(found.columns["tasks"]) == set(range(2, count + 1))


def test_disentanglement_counts_the_answers_that_change(store, run):
    """At α = (0, 0) none does; at (−1, 2) as many as the models, made and asked here, say."""
    found = table(store, run, "disentanglement")
    first, second = run.spec.tasks[:2]
    origin = rows(found, alpha=0.0, **{"other alpha": 0.0})
    assert origin["error"] == [0.0] * len(origin["error"])
    opened = open_zoo(run.spec.zoo, run.spec.tasks)

    @torch.no_grad()
    def classes(task: str, **alphas: float) -> torch.Tensor:
        moved = {name: tensor.clone() for name, tensor in opened.base.items()}
        for other, alpha in alphas.items():
            for name in moved:
                moved[name] += alpha * (opened.tasks[other][name] - opened.base[name])
        split = load_split(opened.zoo.task(task), "test", opened.model.transform)
        opened.model.load(moved)
        batch = split.at(split.spread(32))
        return task_head(opened, task).answer(opened.model, batch).argmax(-1)

    alphas = {first: -1.0, second: 2.0}
    changed = [
        (classes(task, **{task: alphas[task]}) != classes(task, **alphas)).float().mean().item() for task in alphas
    ]
    (error,) = rows(found, first=first, second=second, alpha=-1.0, **{"other alpha": 2.0})["error"]
    assert error == pytest.approx(sum(changed) / 2) and max(found.columns["error"]) > 0
