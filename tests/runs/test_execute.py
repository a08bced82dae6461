"""The work of a run on the tiny zoo: files, numbers, stopping, resuming, and errors that stay with their method."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.report.table import comparison
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.stages.construct import batches
from fda.stages.execute import execute, resolve_device
from fda.store.store import Store, UnitKey
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

SETTINGS = construct_settings("fast", steps=6, anchors=4)


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


def run(store, zoo, stop=NEVER, **changes) -> str:
    """Carry out a request here; the run's id."""
    spec = make_spec(zoo, **({"construct": SETTINGS, "device": "cpu"} | changes))
    run_id = store.create_run(spec)
    execute(store, run_id, stop)
    return run_id


def test_a_run_leaves_anchors_numbers_and_scores(store, tiny_zoo):
    run_id = run(store, tiny_zoo, methods=MAIN_METHODS)
    folder = store.run_dir(run_id)
    assert json.loads((folder / "spec.json").read_text())["tasks"] == ["red", "bright"]
    anchors = load_file(folder / "anchors" / "red" / "1.safetensors")["anchors"]
    assert anchors.shape == (4, 5, 16) and anchors.dtype == torch.float32
    losses = store.scalars(run_id, "angle_loss")[UnitKey("construct", "red", 1)]
    assert losses[0].tolist() == list(range(6))
    unit = next(u for u in store.units(run_id) if u.key == UnitKey("construct", "red", 1))
    assert unit.state == "done" and unit.loss == pytest.approx(losses[1].min(), rel=1e-6)
    spectra = store.snapshots(run_id, "spectrum")[UnitKey("construct", "bright", 0)]
    assert spectra[0][0] == 0 and spectra[0][-1] == 6 and spectra[1].shape[1] == 16
    similarity = store.scalars(run_id, "similarity")[UnitKey("construct", "bright", 0)][1]
    assert ((similarity >= 0) & (similarity <= 1)).all()
    table = comparison("tiny", ("red", "bright"), *store.results(run_id))
    assert [row["method"] for row in table["rows"]] == list(MAIN_METHODS)
    assert all(row["average"] is not None and row["seconds"] > 0 and row["peak_bytes"] > 0 for row in table["rows"])
    assert next(row for row in table["rows"] if row["method"] == "individual")["normalized"] == pytest.approx(1)
    assert all(unit.state == "done" for unit in store.units(run_id))


def test_the_angle_loss_of_a_file_is_the_loss_of_its_anchors(store, tiny_zoo):
    """Recomputed by independent code from the file and the checkpoints: mean over tensors of 1 − cos(g, τ)."""
    run_id = run(store, tiny_zoo)
    opened = open_zoo(load_zoo(tiny_zoo))
    for task in ("red", "bright"):
        for index, block in enumerate(opened.model.blocks):
            path = store.run_dir(run_id) / "anchors" / task / f"{index}.safetensors"
            x = load_file(path)["anchors"]
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
            theta0 = {n: opened.base[block.prefix + n].clone().requires_grad_() for n in block.names}
            theta = {n: opened.tasks[task][block.prefix + n] for n in block.names}
            with sdpa_kernel(SDPBackend.MATH):
                ours, theirs = (functional_call(block.module, p, (x,)).flatten(1) for p in (theta0, theta))
                score = ((ours * theirs).sum(1) / ours.norm(dim=1) / theirs.norm(dim=1)).mean()
                gradients = torch.autograd.grad(score, list(theta0.values()))
            terms = []
            for name, g in zip(theta0, gradients, strict=True):
                tau = (theta[name] - theta0[name]).detach()
                terms.append(1 - (g * tau).sum().item() / (g.norm() * tau.norm()).item())
            assert float(metadata["angle_loss"]) == pytest.approx(sum(terms) / len(terms), rel=1e-4)
            assert metadata["base_fingerprint"] == opened.base.fingerprint
            assert metadata["layout"] == "fused qkv" and metadata["init"] == "weight"


def test_a_stopped_run_resumes_to_the_same_bytes(store, tiny_zoo):
    whole = run(store, tiny_zoo)
    spec = store.run(whole).spec
    run_id = store.create_run(spec.model_copy(update={"device": "cpu"}))
    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(lambda: any(unit.state == "done" for unit in store.units(run_id))))
    states = [unit.state for unit in store.units(run_id)]
    assert "done" in states and "pending" in states and "running" not in states
    execute(store, run_id, NEVER)
    for task in ("red", "bright"):
        for block in (0, 1):
            one, other = (store.run_dir(i) / "anchors" / task / f"{block}.safetensors" for i in (whole, run_id))
            assert one.read_bytes() == other.read_bytes()


def test_order_and_choice_of_units_change_nothing(store, tiny_zoo):
    whole = run(store, tiny_zoo)
    alone = run(store, tiny_zoo, tasks=("bright",), blocks=(1,))
    files = list(store.run_dir(alone).rglob("anchors/*/*"))
    assert [file.relative_to(store.run_dir(alone)).as_posix() for file in files] == ["anchors/bright/1.safetensors"]
    assert files[0].read_bytes() == (store.run_dir(whole) / "anchors/bright/1.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tasks": ("rde",)}, "no task 'rde': did you mean red"),
        ({"blocks": (-1,)}, "no block -1"),
        ({"methods": ("tta",)}, "no merging method 'tta'"),
        ({"construct": None, "methods": ("fda:ta",)}, "fda:ta needs anchors"),
    ],
)
def test_requests_that_are_wrong(tiny_zoo, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        make_spec(tiny_zoo, **({"construct": SETTINGS} | changes))


def test_blocks_and_devices_that_are_not_there(store, tiny_zoo):
    with pytest.raises(UserError, match="no block 2: this model has blocks 0 to 1"):
        run(store, tiny_zoo, blocks=(2,))
    with pytest.raises(UserError, match="no device 'cuda:9'"):
        resolve_device("cuda:9")
    with pytest.raises(UserError, match="--steps: input should be greater than or equal to 1"):
        construct_settings("fast", steps=0)
    with pytest.raises(UserError, match="no preset 'slow'"):
        construct_settings("slow")


def test_tasks_of_a_block_in_one_batch_give_what_each_gives_alone(store, tiny_zoo, monkeypatch):
    """As on a GPU, where they are compiled; a stop leaves nothing half done, and what follows it is the same."""
    alone = run(store, tiny_zoo, construct=construct_settings("fast", steps=30, anchors=4, arithmetic="plain"))
    settings = construct_settings("fast", steps=30, anchors=4, arithmetic="compiled")
    monkeypatch.setattr("fda.stages.arithmetic._parallelism", lambda work: (2, 1))
    asked = iter(range(10**6))
    together = make_spec(tiny_zoo, construct=settings, device="cpu")
    run_id = store.create_run(together)
    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(lambda: next(asked) > 130))
    assert {unit.state for unit in store.units(run_id)} <= {"done", "pending"}
    execute(store, run_id, NEVER)
    assert {unit.key for unit in store.units(run_id) if unit.state == "done"} == {u.key for u in store.units(alone)}
    for key in (unit.key for unit in store.units(alone)):
        one, other = (
            load_file(store.run_dir(r) / "anchors" / key.name / f"{key.block}.safetensors")["anchors"]
            for r in (alone, run_id)
        )
        assert torch.allclose(one, other, rtol=0, atol=0.02 * one.abs().max().item())
        losses = [store.scalars(r, "angle_loss")[key][1] for r in (alone, run_id)]
        assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_batches_are_of_one_block_each():
    units = [UnitKey("construct", task, block) for task in "abc" for block in range(2)]
    assert batches(units, 1) == [[unit] for unit in units]
    assert [[f"{key.name}{key.block}" for key in batch] for batch in batches(units, 2)] == [
        ["a0", "b0"],
        ["c0"],
        ["a1", "b1"],
        ["c1"],
    ]
