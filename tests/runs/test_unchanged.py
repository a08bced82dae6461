"""Blocks and tasks that finetuning left as they are in the base: no anchors, no error, and nothing in any figure or merge."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fda.anchors import loss
from fda.anchors.adapt import Adapted, adapt_coefficients, pool
from fda.anchors.init import unit_seed
from fda.cancel import NEVER
from fda.checkpoints.weights import Checkpoint
from fda.cli.progress import doing, line
from fda.errors import UserError
from fda.figures.progress import progress_map
from fda.requests.landscape import landscape_spec
from fda.requests.runs import adapt_settings, choose_methods, construct_settings, make_spec
from fda.stages.adapt import anchor_pools
from fda.stages.anchored import anchored_blocks, anchors_of, require_unchanged
from fda.stages.construct import unfinished_units
from fda.stages.work import Work
from fda.stages.worker import run_here
from fda.store.files import anchors_file, merged_file
from fda.store.landscape_record import load_map, read_numbers
from fda.store.store import Store, UnitKey
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support import library_zoos

STEPS = 2
METHODS = ("fda:pretrained", "fda:ta", "fda:tsv", "regmean:anchors", "wudi", "iso_c")


def freeze(zoo, task: str, where: str = "") -> None:
    """Put the base's tensors whose names hold `where` into a task's checkpoint."""
    path = zoo.parent / task / "model.safetensors"
    base, own = load_file(zoo.parent / "base" / "model.safetensors"), load_file(path)
    inner = {name: name.removeprefix("vit.") for name in own}
    own |= {name: base[short].clone() for name, short in inner.items() if short in base and where in short}
    save_file(own, path, {"format": "pt"})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("FDA_HOME", str(tmp_path_factory.mktemp("home")))
    yield Store()
    patch.undo()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Task `first` is the base with a head; `second` left block 0 alone."""
    path = library_zoos.image_zoo(tmp_path_factory.mktemp("frozen"), "vit")
    freeze(path, "first")
    freeze(path, "second", "layer.0.")
    return path


@pytest.fixture(scope="module")
def run(home, zoo) -> str:
    settings = construct_settings("fast", steps=STEPS, anchors=4)
    run_id = home.create_run(make_spec(zoo, construct=settings, methods=METHODS, device="cpu"))
    assert run_here(home, run_id) == "done", home.run(run_id).message
    return run_id


def test_a_unit_without_a_task_vector_is_done_without_anchors_and_says_so(home, run):
    units = {unit.key: unit for unit in home.units(run, "construct")}
    assert {(key.name, key.block): unit.unchanged for key, unit in units.items()} == {
        ("first", 0): True,
        ("first", 1): True,
        ("second", 0): True,
        ("second", 1): False,
    }
    one = units[UnitKey("construct", "second", 0)]
    assert (one.state, one.step, one.loss, one.seconds) == ("done", 0, None, 0.0)
    assert one.message == "unchanged: task 'second' left it as it is in the base, so block 0 has no anchors of it."
    files = sorted(path.relative_to(home.run_dir(run)) for path in home.run_dir(run).glob("anchors/*/*"))
    assert list(map(str, files)) == ["anchors/second/1.safetensors"]
    assert line(one, 1, 4).endswith(f"done (1 of 4): {one.message}")
    assert doing("construct", list(units.values())) == "construct 4/4, 3 unchanged"
    texts = [
        trace.text
        for trace in progress_map(list(units.values()), "light", title="units").data
        if trace.text is not None
    ]
    assert sum(str(one).count("<b>=</b>") for text in texts for one in text) == 3


def test_every_method_has_finite_scores(home, run):
    results, scores = home.results(run)
    assert {one.method: one.message for one in results if one.state != "done"} == {}
    assert len(scores) == 2 * (len(METHODS) + 2) and all(0 <= one.value <= 1 for one in scores)


def work_of(home, run) -> Work:
    spec = home.run(run).spec
    return Work(home, run, spec, open_zoo(spec.zoo, spec.tasks), "cpu", NEVER)


def test_adaptation_is_on_the_anchors_of_the_tasks_that_have_some(home, run):
    work = work_of(home, run)
    opened, spec = work.opened, work.spec
    merged = Checkpoint(merged_file(home.run_dir(run), "fda:ta"))
    still, block = opened.model.blocks
    for name in still.names:
        assert torch.equal(merged[still.prefix + name], opened.base[still.prefix + name])
    (nothing, anchors) = anchors_of(home, run, opened, spec.tasks, 1, "cpu")
    assert nothing is None and anchors.shape[0] == 4
    base, second = block.of(opened.base), block.of(opened.tasks["second"])
    x, y = pool(block, [second], [anchors])
    zero = {name: torch.zeros_like(tensor) for name, tensor in base.items()}
    taus = [zero, {name: second[name] - base[name] for name in base}]
    settings, seed = adapt_settings(spec.zoo), unit_seed(spec.seed, "adapt", 1)
    *_, end = adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=seed)
    assert isinstance(end, Adapted)
    for name, tensor in end.parameters.items():
        torch.testing.assert_close(merged[block.prefix + name], tensor)


def test_a_finished_run_finds_nothing_left_to_construct_but_a_lost_file(home, run):
    work = work_of(home, run)
    keys = [UnitKey("construct", task, block) for task in ("first", "second") for block in (0, 1)]
    assert unfinished_units(work, keys) == []
    file = anchors_file(work.folder, "second", 1)
    kept = file.read_bytes()
    file.unlink()
    try:
        assert unfinished_units(work, keys) == [UnitKey("construct", "second", 1)]
    finally:
        file.write_bytes(kept)


def test_unchanged_units_of_other_checkpoints_are_refused(home, run, tmp_path):
    other = library_zoos.image_zoo(tmp_path, "vit")
    with pytest.raises(
        UserError, match=f"run {run} found block 0 unchanged by task 'first', but .*construct the anchors of first"
    ):
        opened = open_zoo(load_zoo(other))
        require_unchanged(home, run, opened, ("first",), opened.model.blocks)


def test_a_pool_that_a_lane_asks_for_switches_no_attention_kernel(home, run, monkeypatch):
    """The kernel is the process's: lanes would change each other's bits, and leave it switched."""
    work = work_of(home, run)
    pools = anchor_pools(work, adapt_settings(work.spec.zoo))
    monkeypatch.setattr(loss, "sdpa_kernel", lambda _: pytest.fail("a lane switches the kernel"))
    given = [pools.of(block.copy()) for block in work.blocks]
    assert given[0] is None and given[1][0].shape[0] == 4


def test_a_landscape_of_it_has_no_gaps(home, run):
    spec = landscape_spec(home, run, points=5, samples=4, snapshots=3)
    landscape = home.create_run(spec)
    assert run_here(home, landscape) == "done", home.run(landscape).message
    found = load_map(home.run_dir(landscape))
    numbers = read_numbers(home, landscape, found)
    assert all(np.isfinite(values).all() for values in numbers.grid.values())


def test_compare_takes_the_blocks_that_the_anchors_are_of(home, zoo):
    settings = construct_settings("fast", steps=1, anchors=4)
    source = home.create_run(make_spec(zoo, tasks=("second",), blocks=(1,), construct=settings, device="cpu"))
    assert run_here(home, source) == "done"
    assert anchored_blocks(home, source, ("second",), ()) == (1,) == anchored_blocks(home, source, ("second",), (1,))
    with pytest.raises(
        UserError, match=f"^run {source} has no anchors of block 0: give --blocks 1, or leave --blocks out"
    ):
        anchored_blocks(home, source, ("second",), (0, 1))
    with pytest.raises(
        UserError, match="has no anchors of task 'first': leave it out with --tasks second, or construct"
    ):
        anchored_blocks(home, source, ("first", "second"), ())


def test_with_one_task_task_arithmetic_adds_its_vector_and_groups_leave_out_what_needs_two(home, zoo):
    loaded = load_zoo(zoo)
    chosen = choose_methods(loaded, ("second",), ("all",), anchors=False)
    assert not {"slerp", "model_stock"} & set(chosen) and "ta" in chosen
    with pytest.raises(UserError, match="^model_stock merges at least 2 tasks, not 1: choose more with --tasks"):
        make_spec(zoo, tasks=("second",), methods=("model_stock",))
    run_id = home.create_run(
        make_spec(zoo, tasks=("second",), methods=("ta",), hyperparameters={"ta": {"scale": 1.0}}, device="cpu")
    )
    assert run_here(home, run_id) == "done"
    opened = open_zoo(loaded, ("second",))
    merged = Checkpoint(merged_file(home.run_dir(run_id), "ta"))
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, opened.tasks["second"][name])
