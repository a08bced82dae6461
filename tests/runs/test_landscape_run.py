"""A landscape of the tiny zoo: its plane, its numbers against independent ones, stopping and resuming, wrong requests."""

import json
import math

import pytest
import torch
import yaml

from fda.anchors.adapt import Adapted, Epoch, adapt_coefficients, adapt_weights, pool
from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.report.command import run_commands
from fda.requests.landscape import landscape_spec
from fda.requests.runs import construct_settings, make_spec
from fda.settings import AdaptSettings
from fda.stages import worker
from fda.stages.anchored import anchors_of
from fda.stages.execute import execute
from fda.stages.landscape_scores import load_samples
from fda.stages.work import Work
from fda.store.landscape_record import directions_file, load_map, map_file, paths_folder, read_numbers
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.heads import load_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.tiny_zoo import make_zoo

SMALL = {"points": 5, "samples": 40, "split": "test", "snapshots": 3}
SCORED = ("loss", "accuracy", "loss/red", "accuracy/bright")


def constructed(store: Store, zoo, *, methods: tuple[str, ...] = (), **changes) -> str:
    """A run with anchors, carried out here."""
    spec = make_spec(
        zoo, construct=construct_settings("fast", steps=4, anchors=4), methods=methods, device="cpu", **changes
    )
    run_id = store.create_run(spec)
    execute(store, run_id, NEVER)
    return run_id


def landscape(store: Store, source: str, **settings) -> str:
    run_id = store.create_run(landscape_spec(store, source, **(SMALL | settings)))
    execute(store, run_id, NEVER)
    return run_id


@pytest.fixture(scope="module")
def home(tiny_zoo, tmp_path_factory):
    """A store with a comparison and its landscape, shared: (store, source, landscape)."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("FDA_HOME", str(folder))
        store = Store(folder)
        source = constructed(store, tiny_zoo, methods=("ta", "fda:pretrained", "fda:ta"))
        yield store, source, landscape(store, source)


@pytest.fixture(scope="module")
def opened(tiny_zoo):
    return open_zoo(load_zoo(tiny_zoo))


def merged(store: Store, run_id: str, method: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(store.run_dir(run_id) / "merged" / f"{method}.safetensors")


def in_blocks(opened) -> list[str]:
    return [block.prefix + name for block in opened.model.blocks for name in block.names]


def independent_scores(opened, weights: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Mean over tasks of the cross-entropy, written out, and of the accuracy, on the whole test split."""
    opened.model.module.load_state_dict(weights, assign=True)
    losses, hits = [], []
    for task in opened.zoo.tasks:
        split, head = load_split(task, "test", opened.model.transform), load_head(task)
        for images, labels in split.batches(1000):
            with torch.no_grad():
                logits = (opened.model.module.encode_image(images) @ head.weight.T).double()
            chosen = logits[torch.arange(len(labels)), labels]
            losses.append((logits.exp().sum(1).log() - chosen).mean().item())
            hits.append((logits.argmax(1) == labels).double().mean().item())
    return sum(losses) / len(losses), sum(hits) / len(hits)


def test_every_point_of_the_grid_is_the_model_that_it_stands_for(home, opened):
    """θ0 + a·u + b·v with u and v made here from the checkpoints and from FDA's end in the comparison."""
    store, source, run_id = home
    found, names = load_map(store.run_dir(run_id)), in_blocks(opened)
    numbers = read_numbers(store, run_id, found)
    base = {name: opened.base[name] for name in opened.base}
    flat = torch.cat([base[name].flatten() for name in names]).double()

    def along(weights) -> torch.Tensor:
        return torch.cat([weights[name].flatten() for name in names]).double() - flat

    u = sum(along(one) for one in opened.tasks.values())
    w = along(merged(store, source, "fda:pretrained"))
    v = w - (w @ u) / (u @ u) * u
    v *= u.norm() / v.norm()
    assert found.unit == pytest.approx(u.norm().item(), rel=1e-6)
    for row, column in ((0, 0), (4, 4), (2, 1), (1, 3)):
        moved = (flat + found.a[column] * u + found.b[row] * v).float()
        parts = moved.split([base[name].numel() for name in names])
        weights = base | {name: part.view_as(base[name]) for name, part in zip(names, parts, strict=True)}
        loss, accuracy = independent_scores(opened, weights)
        assert numbers.grid["loss"][row, column] == pytest.approx(loss, rel=1e-4)
        assert numbers.grid["accuracy"][row, column] == pytest.approx(accuracy, abs=1.01 / 80)


def test_task_arithmetic_is_a_straight_line_on_the_plane_and_fda_ends_on_it(home):
    store, _, run_id = home
    found = load_map(store.run_dir(run_id))
    ta, fda = found.track("ta"), found.track("fda:pretrained")
    assert ta.a == pytest.approx(ta.at, abs=1e-9) and ta.b == pytest.approx([0] * len(ta.b), abs=1e-9)
    assert max(ta.distance) < 1e-6 and {0.0, 0.3, 1.0} <= set(ta.at)
    assert fda.at[0] == 0 and (fda.a[0], fda.b[0], fda.distance[0]) == (0, 0, 0)
    assert fda.b[-1] > 0 and fda.distance[-1] < 1e-6 < fda.distance[1]
    assert found.track("fda:ta").a[0] == pytest.approx(0.3, abs=1e-6), "it starts from task arithmetic"


def test_paths_are_scored_with_their_true_weights(home, opened):
    store, source, run_id = home
    found = load_map(store.run_dir(run_id))
    numbers = read_numbers(store, run_id, found)
    _, scores = store.results(source)
    for method in ("fda:pretrained", "fda:ta"):
        compared = [score.value for score in scores if score.method == method]
        assert numbers.tracks["accuracy"][method][-1] == pytest.approx(sum(compared) / 2)
        loss, _ = independent_scores(opened, merged(store, source, method))
        assert numbers.tracks["loss"][method][-1] == pytest.approx(loss, rel=1e-4)
    at = found.track("ta").at.index(0.3)
    loss, _ = independent_scores(opened, merged(store, source, "ta"))
    assert numbers.tracks["loss"]["ta"][at] == pytest.approx(loss, rel=1e-4)
    for place, checkpoint in enumerate(opened.tasks.values()):
        loss, _ = independent_scores(opened, dict(checkpoint.items()))
        assert numbers.tracks["loss"]["finetuned"][place] == pytest.approx(loss, rel=1e-4)
    by_task = [read_numbers(store, run_id, found, task).grid["loss"] for task in ("red", "bright")]
    assert sum(by_task) / 2 == pytest.approx(numbers.grid["loss"])


def test_samples_are_spread_over_the_split(home, opened):
    """The first and the last of 40, and five between, with their own labels."""
    store, source, run_id = home
    spec = landscape_spec(store, source, samples=7, split="validation")
    samples = load_samples(Work(store, run_id, spec, opened, "cpu", NEVER))
    assert [one.task for one in samples] == ["red", "bright"]
    split = load_split(opened.zoo.task("bright"), "validation", opened.model.transform)
    images, labels = next(split.batches(40))
    places = [0, 6, 13, 20, 26, 32, 39]  # 39 · k / 6, rounded
    assert torch.equal(torch.cat(samples[1].batches), images[places]) and torch.equal(samples[1].labels, labels[places])


def test_a_finished_landscape_keeps_its_plane_and_no_snapshots(home):
    store, _, run_id = home
    assert all(unit.state == "done" for unit in store.units(run_id))
    assert directions_file(store.run_dir(run_id)).is_file() and not paths_folder(store.run_dir(run_id)).exists()
    assert store.run(run_id).kind == "landscape"
    assert json.loads((store.run_dir(run_id) / "spec.json").read_text())["landscape"]["points"] == 5


@pytest.mark.parametrize("start", ["pretrained", "ta"])
def test_the_weights_of_an_epoch_are_those_of_an_adaptation_that_ends_there(home, opened, start):
    store, source, _ = home
    block = opened.model.blocks[1]
    base, finetuned = block.of(opened.base), [block.of(one) for one in opened.tasks.values()]
    x, y = pool(block, finetuned, anchors_of(store, source, opened, ("red", "bright"), 1, "cpu"))
    taus = [{name: one[name] - base[name] for name in base} for one in finetuned]

    def events(epochs: int):
        settings = AdaptSettings(weights_lr=1e-3, epochs=epochs, batch=3)
        if start == "pretrained":
            return adapt_weights(block, base, x, y, settings, seed=1)
        return adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=1)

    kept = [event.parameters() for event in events(4) if isinstance(event, Epoch)]
    for epochs in (1, 3, 4):
        *_, adapted = events(epochs)
        assert isinstance(adapted, Adapted)
        assert all(torch.equal(kept[epochs - 1][name], tensor) for name, tensor in adapted.parameters.items())


def told(store: Store, run_id: str) -> dict:
    return {
        (key, unit): (steps.tolist(), values.tolist())
        for key in SCORED
        for unit, (steps, values) in store.scalars(run_id, key, stage="landscape", points=None).items()
    }


@pytest.mark.parametrize("stage", ["adapt", "landscape"])
def test_a_stopped_landscape_resumes_to_the_same_numbers(home, stage, monkeypatch):
    store, _, whole = home
    monkeypatch.setenv("FDA_HOME", str(store.home))
    monkeypatch.setattr("fda.stages.landscape.WRITE_SECONDS", 0)  # so that a tile is cut short with numbers written
    run_id = store.create_run(store.run(whole).spec)

    def begun() -> bool:
        units = [unit for unit in store.units(run_id, stage)]
        return sum(unit.state == "done" for unit in units) >= 2

    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(begun))
    states = {unit.state for unit in store.units(run_id)}
    assert "done" in states and "pending" in states
    done = {unit.key for unit in store.units(run_id, "landscape") if unit.state == "done"}
    assert bool(done) == (stage == "landscape")
    assert {key for _, key in told(store, run_id)} == done, "a tile that was cut short leaves no numbers"
    execute(store, run_id, NEVER)
    assert map_file(store.run_dir(run_id)).read_bytes() == map_file(store.run_dir(whole)).read_bytes()
    assert directions_file(store.run_dir(run_id)).read_bytes() == directions_file(store.run_dir(whole)).read_bytes()
    assert told(store, run_id) == told(store, whole)
    before = store.version(run_id)
    execute(store, run_id, NEVER)
    assert store.units(run_id) and told(store, run_id) == told(store, whole)
    assert store.version(run_id) - before <= 1, "there was nothing left to do"


def test_the_first_picture_is_there_before_the_path_from_ta_is_recorded(home, monkeypatch):
    store, _, whole = home
    monkeypatch.setenv("FDA_HOME", str(store.home))
    run_id = store.create_run(store.run(whole).spec)

    def pictured() -> bool:
        return any(unit.key.name == "grid" and unit.state == "done" for unit in store.units(run_id, "landscape"))

    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(pictured))
    begun = {unit.key.name for unit in store.units(run_id, "adapt") if unit.state == "done"}
    assert begun == {"fda:pretrained"}
    early, late = (load_map(store.run_dir(one)) for one in (run_id, whole))
    assert early.track("fda:ta").at == (0.0,) and len(late.track("fda:ta").at) == 3
    assert early.track("fda:ta").a[0] == pytest.approx(late.track("fda:ta").a[0], abs=1e-6)
    assert (early.a, early.b) == (late.a, late.b)
    assert early.track("fda:pretrained").b == pytest.approx(late.track("fda:pretrained").b, abs=1e-9)


def test_the_directions_of_the_paths_and_a_choice_of_blocks_and_tasks(home, tiny_zoo, monkeypatch):
    store, _, _ = home
    monkeypatch.setenv("FDA_HOME", str(store.home))
    source = constructed(store, tiny_zoo, tasks=("bright",), blocks=(1,))
    run_id = landscape(store, source, directions="paths", samples=8, split="auto")
    found = load_map(store.run_dir(run_id))
    assert found.split == "validation" and found.samples == {"bright": 8}
    numbers = read_numbers(store, run_id, found)
    assert not any(math.isnan(value) for value in numbers.grid["loss"].ravel())
    assert all(".1." in name for name in torch_names(directions_file(store.run_dir(run_id))))


def torch_names(path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def test_other_checkpoints_on_resume_are_told(tmp_path, fda_home):
    from tests.support.tiny_zoo import save_model

    zoo = make_zoo(tmp_path / "zoo")
    store = Store(fda_home)
    source = constructed(store, zoo)
    run_id = store.create_run(landscape_spec(store, source, **SMALL))
    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(map_file(store.run_dir(run_id)).is_file))
    opened = open_zoo(load_zoo(zoo))
    save_model(tmp_path / "zoo" / "red", {name: tensor + 0.01 for name, tensor in opened.tasks["red"].items()})
    with pytest.raises(UserError, match="have changed since this landscape was begun"):
        execute(store, run_id, NEVER)


# requests ------------------------------------------------------------------------------------------------------------


def test_a_comparison_of_another_runs_anchors_hands_on_its_settings(home, tiny_zoo):
    store, source, _ = home
    spec = make_spec(
        tiny_zoo, methods=("fda:ta",), anchors_run=source, hyperparameters={"ta": {"scale": 0.4}}, adaptation={"batch": 5},
        device="cpu", seed=7,
    )  # fmt: skip
    comparison = store.create_run(spec)
    found = landscape_spec(store, comparison, points=7)
    assert found.anchors_run == source and found.landscape.source == comparison and found.seed == 7
    assert found.hyperparameters == {"ta": {"scale": 0.4}} and found.adaptation == spec.adaptation
    assert found.landscape.points == 7 and found.landscape.samples == 96


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"points": 6}, "--points: 6 is even"),
        ({"points": 3}, "--points: input should be greater than or equal to 5"),
        ({"directions": "up"}, "--directions: input should be 'ta_fda' or 'paths'"),
    ],
)
def test_settings_that_are_wrong(home, settings, sentence):
    store, source, _ = home
    with pytest.raises(UserError, match=sentence):
        landscape_spec(store, source, **settings)


def test_runs_without_anchors_are_refused(home, tiny_zoo):
    store, _, run_id = home
    with pytest.raises(UserError, match="no anchors: choose a run that constructed some"):
        landscape_spec(store, run_id)
    with pytest.raises(UserError, match="has no anchors"):
        landscape_spec(store, store.create_run(make_spec(tiny_zoo, methods=("ta",))))
    waiting = store.create_run(make_spec(tiny_zoo, construct=construct_settings("fast", steps=4)))
    with pytest.raises(UserError, match="no anchors yet"):
        landscape_spec(store, waiting)
    with pytest.raises(UserError, match="There is no run"):
        landscape_spec(store, "20260101-000000-dead")


def test_a_task_without_data_is_refused(home, tmp_path, monkeypatch):
    store, _, _ = home
    monkeypatch.setenv("FDA_HOME", str(store.home))
    zoo = make_zoo(tmp_path / "zoo")
    content = yaml.safe_load(zoo.read_text())
    del content["tasks"][1]["data"]
    zoo.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="'bright' of zoo tiny has no `data`"):
        landscape_spec(store, constructed(store, zoo))


def test_a_run_starts_its_own_landscape_on_a_coarse_grid_once(fda_home, tiny_zoo, monkeypatch):
    store, started = Store(fda_home), []
    monkeypatch.setattr(worker, "start", lambda store, spec: started.append(store.create_run(spec)))
    spec = make_spec(
        tiny_zoo, construct=construct_settings("fast", steps=2, anchors=4), device="cpu", coarse_landscape=True
    )
    run_id = store.create_run(spec)
    assert worker.main(run_id) == 0 and store.run(run_id).state == "done"
    (plane,) = map(store.run, started)
    assert (plane.spec.landscape.points, plane.spec.anchors_run) == (9, run_id)
    command = run_commands(spec, run_id)[-1].split()
    assert (
        landscape_spec(store, run_id, points=int(command[command.index("--points") + 1]), samples=32, snapshots=6)
        == plane.spec
    )
    execute(store, plane.run_id, NEVER)
    assert load_map(store.run_dir(plane.run_id)) is not None
    store.set_state(plane.run_id, "done")  # or the run would wait behind it

    store.requeue(run_id, ended=("done",))
    assert worker.main(run_id) == 0 and len(started) == 1, "it is there"
