"""Construct the units of a run: events into the store, anchors into files."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.anchors.construct import Constructed, Snapshot, Step, construct, spaced_steps
from fda.anchors.init import unit_seed
from fda.anchors.loss import Parameters
from fda.merging.registry import METHODS
from fda.models.blocks import Block
from fda.models.survey import OpenZoo
from fda.runs.arithmetic import Steps, steps_of
from fda.runs.files import anchors_file, load_anchors, save_tensors
from fda.runs.lanes import run_lanes
from fda.runs.measures import Measures
from fda.runs.real_inputs import RealBlockInputs, real_block_inputs
from fda.runs.real_samples import write_real_samples
from fda.runs.request import adapt_settings
from fda.runs.stopped import Stopped
from fda.runs.store import Store, UnitKey
from fda.runs.work import Work

REAL_SAMPLES = 64  # samples whose block inputs stand for "real data"


def construct_units(work: Work) -> None:
    """Construct every unit that is not finished. A unit is finished when its row says so and its file is there."""
    store, run_id = work.store, work.run_id
    units = [UnitKey("construct", task, block.index) for task in work.spec.tasks for block in work.blocks]
    store.add_units(run_id, [(key, work.spec.construction.steps) for key in units])
    done = {unit.key for unit in store.units(run_id, "construct") if unit.state == "done"}
    todo = [key for key in units if key not in done or not anchors_file(work.folder, key.name, key.block).is_file()]
    real = {task: real_inputs(work, task) for task in dict.fromkeys(key.name for key in todo)}
    steps = steps_of(work)

    def piece(key: UnitKey) -> Callable[[Callable[[], bool]], None]:
        return lambda stop: _construct_unit(work, key, real[key.name], steps, stop)

    with sdpa_kernel(SDPBackend.MATH):  # a switch of the whole process, so it is set before the lanes and stays
        run_lanes([piece(key) for key in todo], work.device, work.should_stop)


def real_inputs(work: Work, task: str) -> RealBlockInputs | None:
    """By block, the inputs that samples of the task give it in the finetuned model; None without data.

    Samples come from the training split if the zoo names one, else from validation, else from the test split; they are kept
    in the run's folder to be shown.
    """
    data = work.spec.zoo.task(task).data
    if data is None:
        return None
    split = data.train_split or data.validation_split or data.split
    write_real_samples(work, task, split, REAL_SAMPLES)
    return real_block_inputs(work, task, split, REAL_SAMPLES)


def measures_of(
    work: Work,
    key: UnitKey,
    block: Block,
    base: Parameters,
    finetuned: Parameters,
    real: RealBlockInputs | None,
    steps: tuple[int, ...],
) -> Measures:
    """The unit's recorder, at these steps. Its merged model, which real inputs need, is task arithmetic at the usual λ."""
    merged: dict[str, Tensor] = {}
    if real is not None:
        scale = METHODS["ta"].defaults["scale"]
        merged = {name: (1 - scale * len(work.finetuned)) * tensor for name, tensor in base.items()}
        for weights in work.finetuned:
            for name, tensor in block.of(weights, work.device).items():
                merged[name] += scale * tensor
    return Measures(
        work.store,
        work.run_id,
        key,
        block,
        base,
        finetuned,
        merged,
        None if real is None else real[key.block].to(work.device),
        steps,
        adapt_settings(work.spec.zoo, work.spec.adaptation),
    )


def _construct_unit(
    work: Work, key: UnitKey, real: RealBlockInputs | None, steps: Steps, should_stop: Callable[[], bool]
) -> None:
    store, run_id, opened, device = work.store, work.run_id, work.opened, work.device
    settings = work.spec.construction
    block = opened.model.blocks[key.block].copy()
    seed = unit_seed(settings.seed, key.name, key.block)
    base, finetuned = block.of(opened.base, device), block.of(opened.tasks[key.name], device)
    measures = measures_of(work, key, block, base, finetuned, real, spaced_steps(settings.steps))
    live: tuple[str, ...] = ()
    store.reset_unit(run_id, key)
    store.update_unit(run_id, key, state="running", step=0, steps=settings.steps)
    rows: list[tuple[str, int, float]] = []
    for event in construct(
        block, base, finetuned, settings, seed=seed, snapshot_steps=measures.steps, make_step=steps.make
    ):
        if should_stop():
            store.reset_unit(run_id, key)
            raise Stopped
        if isinstance(event, Step):
            rows += [("angle_loss", event.step, event.angle_loss), ("learning_rate", event.step, event.learning_rate)]
            if event.step in measures.steps:
                rows += measures.cosines(event.step, live, event.cosines)
            last = event
            if len(rows) >= 20:
                store.add_scalars(run_id, key, rows)
                store.update_unit(run_id, key, step=event.step + 1, loss=event.angle_loss, seconds=event.seconds)
                rows = []
        elif isinstance(event, Snapshot):
            live = event.live
            measures.at(event)
        elif isinstance(event, Constructed):
            rows += measures.cosines(settings.steps, event.live, event.cosines)
            store.add_scalars(run_id, key, rows)
            save_anchors(work, key, event, arithmetic=steps.arithmetic, seed=settings.seed, unit_seed=seed)
            store.update_unit(
                run_id,
                key,
                state="done",
                step=last.step + 1,
                loss=event.angle_loss,
                best_step=event.step,
                seconds=last.seconds,
            )


def save_anchors(work: Work, key: UnitKey, result: Constructed, **own: object) -> None:
    """Write a unit's anchors with what ties them to their checkpoints and settings; `own` is what else is known of them."""
    settings, opened = work.spec.construction, work.opened
    save_tensors(
        anchors_file(work.folder, key.name, key.block),
        {"anchors": result.anchors},
        {
            "angle_loss": repr(result.angle_loss),
            "step": result.step,
            "init": settings.init,
            "preset": settings.preset,
            "distance": settings.distance,
            "layout": opened.model.layout,
            "live_tensors": ",".join(result.live),
            "base_fingerprint": opened.base.fingerprint,
            "checkpoint_fingerprint": opened.tasks[key.name].fingerprint,
            **own,
        },
    )


def anchors_of(
    store: Store, source: str, opened: OpenZoo, tasks: tuple[str, ...], block: int, device: str | torch.device
) -> list[Tensor]:
    """The anchors of every task for one block, from run `source`, checked against the checkpoints in use."""
    return [
        load_anchors(
            store.run_dir(source),
            task,
            block,
            base=opened.base.fingerprint,
            finetuned=opened.tasks[task].fingerprint,
        ).to(device)
        for task in tasks
    ]
