"""The main job with every tensor of the device on a second one: no mix-up, no wait for each step, the bits of the CPU.

What may wait, once for each: a unit (its weights come and its anchors go), a snapshot that is measured, an epoch of adaptation,
a batch of inputs on its way to the device, FLUSH_SECONDS of construction, 25 steps with a tolerance. Merging reads checkpoints
on the CPU and stays there, but for methods that read inputs or anchors.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.anchors.adapt import Adapted, adapt_coefficients, adapt_weights, pool
from fda.anchors.arithmetic import PLAIN, CompiledArithmetic
from fda.anchors.construct import Constructed, construct_together
from fda.anchors.loss import live_tensors
from fda.anchors.step import CompiledSteps, plain_step
from fda.architectures.blocks import Block
from fda.architectures.transformer_blocks import transformer_blocks
from fda.bench.construct import bench_construct
from fda.cancel import NEVER
from fda.merging.registry import METHODS
from fda.requests.analyses import analysis_spec
from fda.requests.landscape import landscape_spec
from fda.requests.runs import construct_settings, make_spec
from fda.settings import AdaptSettings, ConstructSettings
from fda.stages.execute import execute
from fda.stages.mix import names_by_place
from fda.stages.mix_parts import UNCHANGED, PartKey
from fda.stages.mix_scores import Bench
from fda.stages.worker import run_here
from fda.store.analyses import PANELS, analysis_file
from fda.store.store import Store, UnitKey
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import DECODER, IMAGE, TEXT
from tests.support.pretend import DEVICE, WAITS, install

install()

BLOCKS = {
    "ViT": transformers.ViTConfig(**IMAGE),
    "Roberta": transformers.RobertaConfig(**TEXT),
    # with a mask and rotary positions; not SiLU, whose derivative torch composes otherwise for a device of its own
    "Mistral": transformers.MistralConfig(**DECODER, sliding_window=8, hidden_act="gelu"),
}
# Of every kind that computes on the device: methods that read inputs or anchors, or adapt. Few steps find the same mistakes.
METHODS_ON_DEVICE = (
    "fisher",
    "adamerging_layer",
    "regmean_plusplus",
    "regmean:anchors",
    "distill",
    "fda:pretrained",
    "fda:ta",
)
PANELS_COMPARED = tuple(panel for panel in PANELS if panel != "disentanglement")  # which scores hundreds of models
FEW = {"steps": 2, "examples": 8}


def block_of(name: str) -> tuple[Block, dict, list[dict]]:
    """A block whose module is on the CPU, θ0, and two θi."""
    torch.manual_seed(0)
    block = transformer_blocks(transformers.AutoModel.from_config(BLOCKS[name]))[1]
    base = {key: torch.randn(shape) / 4 for key, shape in block.shapes.items()}
    finetuned = [{key: value + 0.05 * torch.randn(value.shape) for key, value in base.items()} for _ in range(2)]
    return block, base, finetuned


def moved(tensors: dict, device: str) -> dict:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def eager(function: Callable, **_: object) -> Callable:
    """In the place of `torch.compile`: the function itself."""
    return function


@pytest.fixture(autouse=True)
def without_compiler_and_clock(monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", eager)
    monkeypatch.setattr("fda.anchors.construct.FLUSH_SECONDS", float("inf"))


@contextmanager
def waits(into: Counter) -> Iterator[None]:
    with WAITS.counted() as seen:
        yield
    into.update(seen)


def growth(few: Counter, many: Counter) -> dict:
    """What waited more often in the longer work."""
    return dict(many - few)


def constructed(
    name: str, device: str, steps: int, maker: str, **settings: object
) -> tuple[list[torch.Tensor], Counter]:
    block, base, finetuned = block_of(name)
    live = live_tensors(block, base, finetuned[0])
    make = plain_step if maker == "plain" else CompiledSteps().step
    seen: Counter = Counter()
    block, base, finetuned = block.copy(device), moved(base, device), [moved(one, device) for one in finetuned]
    settings = ConstructSettings(anchors=4, tokens=5, steps=steps, **settings)  # pyright: ignore[reportArgumentType]
    with waits(seen):
        events = construct_together(block, base, finetuned, settings, live=live, seeds=[1, 2], make_step=make)
        made = [event.anchors for _, event in events if isinstance(event, Constructed)]
    assert all(anchors.device.type == "cpu" for anchors in made)
    return made, seen


@pytest.mark.parametrize(("name", "maker"), [("Roberta", "plain"), ("ViT", "batch"), ("Mistral", "batch")])
def test_steps_of_construction_wait_for_nothing(name, maker):
    cpu, _ = constructed(name, "cpu", 3, maker)
    made, many = constructed(name, DEVICE, 3, maker)
    _, few = constructed(name, DEVICE, 1, maker)
    assert growth(few, many) == {}
    assert all(torch.equal(one, other) for one, other in zip(cpu, made, strict=True))


def test_units_that_end_early_make_the_others_wait_once(monkeypatch):
    """One unit ends after a stretch, while the other goes on."""
    ends = iter([2, 5])
    monkeypatch.setattr("fda.anchors.construct.STRETCH", 2)
    monkeypatch.setattr("fda.anchors.construct._early_end", lambda settings, step: next(ends))
    _, seen = constructed("ViT", DEVICE, 9, "plain", tolerance=0.9999)
    assert seen["anchors/construct.py:construct_together", "_copy_from"] == 1


@pytest.mark.parametrize(("trained", "path"), [("weights", "plain"), ("coefficients", "compiled")])
def test_steps_of_adaptation_wait_once_an_epoch(trained, path):
    def adapted(device: str, batch: int, epochs: int) -> tuple[dict, Counter]:
        arithmetic = PLAIN if path == "plain" else CompiledArithmetic()
        block, base, finetuned = block_of("Mistral")
        block, base, finetuned = block.copy(device), moved(base, device), [moved(one, device) for one in finetuned]
        x = torch.randn(8, 5, 16, generator=torch.Generator().manual_seed(0)).to(device)
        pooled = pool(block, finetuned, [x, x])
        settings = AdaptSettings(batch=batch, weights_epochs=epochs, coefficients_epochs=epochs)
        seen: Counter = Counter()
        with waits(seen):
            if trained == "weights":
                events = adapt_weights(block, base, *pooled, settings, seed=0, arithmetic=arithmetic)
            else:
                taus = [{name: own[name] - base[name] for name in base} for own in finetuned]
                events = adapt_coefficients(block, base, taus, 0.3, *pooled, settings, seed=0, arithmetic=arithmetic)
            (end,) = [event for event in events if isinstance(event, Adapted)]
        return end.parameters, seen

    cpu, _ = adapted("cpu", 4, 3)
    found, many_steps = adapted(DEVICE, 4, 3)
    _, few_steps = adapted(DEVICE, 16, 3)
    _, few_epochs = adapted(DEVICE, 4, 2)
    assert growth(few_steps, many_steps) == {}
    assert sum(growth(few_epochs, many_steps).values()) == 2  # the order of the samples, and the loss
    assert all(torch.equal(cpu[name], found[name].cpu()) for name in cpu)


def test_batches_of_an_evaluation_wait_only_for_their_inputs(tiny_zoo, monkeypatch):
    opened = open_zoo(load_zoo(tiny_zoo))
    head, model = task_head(opened, "red"), opened.model
    split = load_split(opened.zoo.task("red"), "test", model.transform)

    def answered(device: str, size: int) -> tuple[list, Counter]:
        monkeypatch.setattr("fda.tasks.evaluate.IMAGES", size)
        model.load(opened.tasks["red"])
        model.to(device)
        seen: Counter = Counter()
        with waits(seen):
            answers = evaluate(model, head, split, device)
        assert answers.top is not None
        return [answers.predicted.tolist(), answers.label.tolist(), answers.top.probabilities.tolist()], seen

    found, many = answered(DEVICE, 10)
    _, few = answered(DEVICE, 20)
    assert growth(few, many) == {("tasks/evaluate.py:answered", "copy_"): 2}
    assert found == answered("cpu", 10)[0]


def test_the_mixer_answers_as_on_the_cpu(tiny_zoo):
    def answered(device: str) -> list:
        opened = open_zoo(load_zoo(tiny_zoo))
        bench = Bench(opened, device, 2**20)
        names, found = names_by_place(opened), []
        for changed in (UNCHANGED, PartKey(("red",))):  # the second pass begins at block 1, with kept outputs
            keys = {place: changed if place == 1 else UNCHANGED for place in bench.places}
            asked = {task: bench.sample(task, 8) for task in bench.tasks}
            answers = bench.answers(keys, lambda place: [(n, opened.tasks["red"][n]) for n in names[place]], asked)
            found += [one.top.probabilities.tolist() for one in answers.values() if one.top is not None]
        return found

    with sdpa_kernel(SDPBackend.MATH):
        assert answered(DEVICE) == answered("cpu")


def test_the_benchmark_runs_on_the_device(monkeypatch):
    monkeypatch.setattr("fda.bench.construct.ceiling", lambda products, device: 1e12)
    monkeypatch.setattr("fda.bench.units.TRAINING_STEPS", 1)
    measured = bench_construct("demo", device=DEVICE, steps=2, paths=("plain",))
    assert [path["path"] for path in measured["paths"]] == ["reference", "fast, plain"]
    assert all(path["peak_bytes"] > 0 for path in measured["paths"])


# the whole job -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tiny_zoo, tmp_path_factory):
    """Device → (store, run, landscape) of the same request, with panels of the view Analyses."""
    with sdpa_kernel(SDPBackend.MATH):  # each device has attention kernels of its own, with other bits
        return {device: _job(tiny_zoo, tmp_path_factory.mktemp("home"), device) for device in ("cpu", DEVICE)}


def _job(zoo, home, device: str) -> tuple[Store, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(home))
        store = Store(home)
        few = {
            name: {one.name: FEW[one.name] for one in METHODS[name].hyperparameters if one.name in FEW}
            for name in METHODS_ON_DEVICE
        }
        spec = make_spec(
            zoo,
            blocks=(1,),
            construct=construct_settings("fast", steps=2, anchors=4),
            methods=METHODS_ON_DEVICE,
            hyperparameters={name: values for name, values in few.items() if values},
            adaptation={"weights_epochs": 2, "coefficients_epochs": 2},
            device=device,
        )
        run_id = store.create_run(spec)
        execute(store, run_id, NEVER)
        store.set_state(run_id, "done")
        helper = store.create_run(analysis_spec(store.run(run_id), PANELS_COMPARED))
        assert run_here(store, helper) == "done", store.run(helper).message
        plane = store.create_run(landscape_spec(store, run_id, points=5, samples=10, split="test", snapshots=2))
        execute(store, plane, NEVER)
        return store, run_id, plane


def test_every_file_of_a_run_has_the_bytes_of_the_cpu(runs):
    (cpu, run, plane), (pretend, other, other_plane) = runs["cpu"], runs[DEVICE]
    results = pretend.results(other)[0]
    assert [one.message for one in results if one.state != "done"] == []
    assert len(results) == len(METHODS_ON_DEVICE) + 2
    compared = 0
    for one, two in ((cpu.run_dir(run), pretend.run_dir(other)), (cpu.run_dir(plane), pretend.run_dir(other_plane))):
        for file in one.rglob("*.safetensors"):
            ours, theirs = load_file(file), load_file(two / file.relative_to(one))
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), file
            compared += 1
    assert compared >= 2 + len(METHODS_ON_DEVICE)


def test_every_number_of_a_run_is_that_of_the_cpu(runs):
    (cpu, run, plane), (pretend, other, other_plane) = runs["cpu"], runs[DEVICE]
    assert _scores(cpu, run) == _scores(pretend, other)
    for one, two in ((run, other), (plane, other_plane)):
        for key in (
            "angle_loss",
            "adapt_loss",
            "similarity",
            "projection_energy",
            "effective_rank",
            "loss",
            "accuracy",
        ):
            ours, theirs = cpu.scalars(one, key), pretend.scalars(two, key)
            assert {unit: values[1].tolist() for unit, values in ours.items()} == {
                unit: values[1].tolist() for unit, values in theirs.items()
            }
    assert cpu.scalars(run, "similarity")[UnitKey("construct", "red", 1)][1].size
    for panel in PANELS_COMPARED:
        files = [analysis_file(store.run_dir(own), panel) for store, own in ((cpu, run), (pretend, other))]
        assert files[0].read_bytes() == files[1].read_bytes(), panel


def _scores(store: Store, run_id: str) -> dict:
    return {(score.method, score.task): score.value for score in store.results(run_id)[1]}
