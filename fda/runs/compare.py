"""Merge and score the methods of a run, one after the other. A method that fails says why; the others go on."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fda.anchors.adapt import Adapted, Epoch, adapt_coefficients, adapt_weights, pool
from fda.anchors.init import unit_seed
from fda.anchors.settings import AdaptSettings
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.method import Method
from fda.merging.registry import METHODS, method
from fda.models.blocks import Block
from fda.models.survey import OpenZoo
from fda.runs.construct import anchors_of
from fda.runs.files import merged_file, save_tensors
from fda.runs.lanes import run_lanes
from fda.runs.meter import Meter
from fda.runs.spec import RunSpec
from fda.runs.stopped import Stopped
from fda.runs.store import MethodResult, Score, Store, UnitKey
from fda.tasks.data import Split, load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import Head, load_head


def compare_methods(
    store: Store, run_id: str, spec: RunSpec, opened: OpenZoo, device: str, should_stop: Callable[[], bool]
) -> None:
    """Run every method of the spec that has no result yet; each result is stored as soon as it is there."""
    methods = [method(name) for name in spec.methods]
    finished = {result.method for result in store.results(run_id)[0] if result.state == "done"}
    todo = [m for m in methods if m.name not in finished]
    tasks = spec.tasks
    splits = {
        name: load_split(spec.zoo.task(name), spec.zoo.task(name).data.split, opened.model.transform) for name in tasks
    }
    heads = {name: load_head(spec.zoo.task(name)) for name in tasks}
    work = _Comparison(store, run_id, spec, opened, device, should_stop, splits, heads)
    for one in todo:
        work.plan(one)
    for one in todo:
        work.run(one)


def adapt_settings(spec: RunSpec) -> AdaptSettings:
    """The paper's settings, with what the zoo file says suits its models."""
    return AdaptSettings(**spec.zoo.adapt)


class _Comparison:
    """One comparing run: what all its methods share."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        spec: RunSpec,
        opened: OpenZoo,
        device: str,
        should_stop: Callable[[], bool],
        splits: dict[str, Split],
        heads: dict[str, Head],
    ) -> None:
        self.store, self.run_id, self.spec, self.opened = store, run_id, spec, opened
        self.device, self.should_stop, self.splits, self.heads = device, should_stop, splits, heads
        self.adapt = adapt_settings(spec)

    def plan(self, one: Method) -> None:
        """Tell the store what is coming, so that progress has a total."""
        keys = [(UnitKey("evaluate", one.name), len(self.spec.tasks))]
        if one.start is not None:
            keys += [(UnitKey("adapt", one.name, block.index), self.adapt.epochs) for block in self._blocks()]
        self.store.add_units(self.run_id, keys)

    def run(self, one: Method) -> None:
        key = UnitKey("evaluate", one.name)
        self.store.update_unit(self.run_id, key, state="running", step=0)
        try:
            with Meter(self.device) as meter:
                merged = None if one.name == "individual" else self._merged(one)
            if merged is not None:
                save_tensors(merged_file(self.store.run_dir(self.run_id), one.name), merged, {"method": one.name})
            scores = self._scores(one, merged, key)
        except (UserError, torch.linalg.LinAlgError, torch.OutOfMemoryError) as error:
            message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.store.add_result(self.run_id, MethodResult(one.name, "failed", {}, None, None, message))
            self.store.update_unit(self.run_id, key, state="failed", message=message)
            return
        result = MethodResult(one.name, "done", self._settings(one), meter.seconds, meter.peak_bytes, None)
        self.store.add_result(self.run_id, result, scores)
        self.store.update_unit(self.run_id, key, state="done", step=len(self.spec.tasks))

    def _blocks(self) -> list[Block]:
        chosen = self.spec.blocks or tuple(range(len(self.opened.model.blocks)))
        return [self.opened.model.blocks[index] for index in chosen]

    def _settings(self, one: Method) -> dict[str, Any]:
        """What a row says of its settings. All are fixed beforehand; none was chosen on the test split."""
        if one.start is None:
            return {**one.defaults, "selection": "fixed"}
        rate = "weights_lr" if one.start == "pretrained" else "coefficients_lr"
        keep = ("distance", rate, "epochs", "batch")
        chosen = "fixed" if not self.spec.zoo.adapt else "fixed (zoo file)"
        return {key: getattr(self.adapt, key) for key in keep} | {"selection": chosen}

    def _merged(self, one: Method) -> dict[str, Tensor]:
        """The merged state dict on the CPU."""
        if one.start is None:
            return merge(one, self.opened.base, [self.opened.tasks[name] for name in self.spec.tasks])
        source = self.run_id if self.spec.construction is not None else self.spec.anchors_run
        if source is None:
            raise UserError(f"{one.name} needs anchors: name a finished construct run (--anchors RUN_ID).")
        state = {name: self.opened.base[name] for name in self.opened.base}
        start = METHODS[one.start]
        started = (
            None
            if one.start in ("pretrained", "ta")
            else merge(start, self.opened.base, list(self.opened.tasks.values()))
        )

        def piece(block: Block) -> Callable[[Callable[[], bool]], None]:
            def adapt(should_stop: Callable[[], bool]) -> None:
                for name, tensor in self._adapted(one, start, started, source, block, should_stop).items():
                    full = block.prefix + name
                    state[full] = tensor.to(state[full].dtype).cpu()

            return adapt

        run_lanes([piece(block.copy()) for block in self._blocks()], self.device, self.should_stop)
        return state

    def _adapted(
        self,
        one: Method,
        start: Method,
        started: dict[str, Tensor] | None,
        source: str,
        block: Block,
        should_stop: Callable[[], bool],
    ) -> dict[str, Tensor]:
        """One block's tensors after adaptation on the anchors of all tasks."""
        base = block.of(self.opened.base, self.device)
        finetuned = [block.of(self.opened.tasks[name], self.device) for name in self.spec.tasks]
        x, y = pool(
            block, finetuned, anchors_of(self.store, source, self.opened, self.spec.tasks, block.index, self.device)
        )
        seed = unit_seed(self.spec.seed, "adapt", block.index)
        if one.start == "pretrained":
            events: Iterator[Epoch | Adapted] = adapt_weights(block, base, x, y, self.adapt, seed=seed)
        else:
            ends = finetuned if started is None else [block.of(started, self.device)]
            taus = [{name: end[name] - base[name] for name in base} for end in ends]
            value = start.defaults["scale"] if started is None else 1.0
            events = adapt_coefficients(block, base, taus, value, x, y, self.adapt, seed=seed)
        key = UnitKey("adapt", one.name, block.index)
        self.store.update_unit(self.run_id, key, state="running", step=0)
        rows: list[tuple[str, int, float]] = []
        for event in events:
            if isinstance(event, Adapted):
                self.store.add_scalars(self.run_id, key, rows)
                self.store.update_unit(self.run_id, key, state="done", step=self.adapt.epochs, loss=rows[-1][2])
                return event.parameters
            if should_stop():
                raise Stopped
            rows.append(("adapt_loss", event.epoch, event.loss))
            if len(rows) >= 10:
                self.store.add_scalars(self.run_id, key, rows)
                self.store.update_unit(self.run_id, key, step=event.epoch + 1, loss=event.loss)
                rows = rows[-1:]
        raise AssertionError("adaptation ended without a result")

    def _scores(self, one: Method, merged: dict[str, Tensor] | None, key: UnitKey) -> list[Score]:
        """Each task's score. Tasks that share a model are scored side by side; `individual` loads one after the other."""
        model = self.opened.model
        found: dict[str, Score] = {}

        def piece(name: str) -> Callable[[Callable[[], bool]], None]:
            def score(should_stop: Callable[[], bool]) -> None:
                def pulse() -> None:
                    if should_stop():
                        raise Stopped

                accuracy = evaluate(model, self.heads[name], self.splits[name], self.device, pulse)
                split = self.spec.zoo.task(name).data.split
                found[name] = Score(one.name, name, split, "accuracy", accuracy.value, accuracy.count)
                self.store.update_unit(self.run_id, key, step=len(found))

            return score

        groups = (
            [(merged, self.spec.tasks)]
            if merged is not None
            else [(self.opened.tasks[name], (name,)) for name in self.spec.tasks]
        )
        for weights, names in groups:
            model.load(weights)
            model.module.to(self.device)
            run_lanes([piece(name) for name in names], self.device, self.should_stop)
        return [found[name] for name in self.spec.tasks]
