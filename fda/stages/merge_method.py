"""Writes the merged model of one method after the other into the run's folder, and says with which settings.

`adapt.py` adapts blocks, for the methods that begin at another's merged model.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import kinds_of, write_tensors
from fda.merging.merge import merge_to_file, storable
from fda.merging.method import SWEPT, Hyperparameter, Method, TaskMoments
from fda.merging.methods.mix import is_mix
from fda.merging.sweep import Scaled, unit_update_to_file
from fda.requests.recipe import kept_recipe
from fda.requests.runs import adapt_settings, changed_hyperparameters
from fda.requests.unread import adaptation_read_by
from fda.settings import AdaptSettings
from fda.stages.adapt import Pools, adapt_to_file, anchor_pools, epochs, input_pools
from fda.stages.anchored import anchors_of, require_unchanged
from fda.stages.mix import mix_to_file
from fda.stages.scoring import ModelToScore
from fda.stages.splits import Splits
from fda.stages.work import Work
from fda.store.files import merged_file
from fda.tasks.answers import Answers
from fda.tasks.task_inputs import AnchorMoments, RealInputs

# Settings of adaptation that a result names only where they are not the usual ones.
SAID_IF_CHANGED = ("weights_rate", "arithmetic")

Score = Callable[[Sequence[ModelToScore]], list[dict[str, Answers]]]
"""Models → for each, task → its answers to the validation split."""


def swept_coefficient(one: Method) -> Hyperparameter:
    """The hyperparameter that a swept method chooses."""
    if one.coefficient is None:
        raise ValueError(f"{one.name} has no hyperparameter to sweep")
    return one.coefficient


class MethodMerger:
    """Merges methods of one comparison, which share the anchors' pools. `validate` scores the models of a sweep."""

    def __init__(self, work: Work, splits: Splits, validate: Score) -> None:
        self.work, self.splits, self.validate = work, splits, validate
        self.adaptation = adapt_settings(work.spec.zoo, work.spec.adaptation)
        self.anchor_pools = cache(lambda: anchor_pools(work, self.adaptation))  # of all starts

    def epochs(self, one: Method) -> int:
        """How many epochs each block of a method with a start is adapted."""
        return epochs(one, self.adaptation)

    def merge(self, one: Method) -> dict[str, Any]:
        """Write the method's merged file, if it has one; the settings of its result."""
        if one.name == "individual":
            return {"selection": "fixed"}
        if one.start is not None:
            return self._adapt(one)
        if one.swept:
            return self._sweep(one)
        if is_mix(one.name):
            return self._mix(one)
        hyperparameters = self._hyperparameters(one)
        merge_to_file(
            one,
            self.work.opened.base,
            self.work.finetuned,
            merged_file(self.work.folder, one.name),
            {"method": one.name},
            inputs=self._inputs(one),
            in_by_out=self.work.opened.model.in_by_out,
            cancel=self.work.cancel,
            **hyperparameters,
        )
        return hyperparameters | self._reads(one) | {"selection": self._selection(one)}

    def _mix(self, one: Method) -> dict[str, Any]:
        """Write a mix by hand, which was chosen while its scores on the validation split were looked at."""
        hyperparameters, work = self._hyperparameters(one), self.work
        recipe = kept_recipe(hyperparameters, one.name, work.spec.zoo, work.spec.tasks)
        mix_to_file(recipe, work.opened, work.store, merged_file(work.folder, one.name), cancel=work.cancel)
        return hyperparameters | {"selection": "validation"}

    def _adapt(self, one: Method) -> dict[str, Any]:
        hyperparameters, adaptation = self._hyperparameters(one), self.adaptation
        adapt_to_file(self.work, one, adaptation, self._pools(one, hyperparameters))
        adapted = {
            name: value
            for name, value in adaptation.model_dump(include=set(adaptation_read_by([one.name]))).items()
            if name not in SAID_IF_CHANGED or value != AdaptSettings.model_fields[name].default
        }
        return hyperparameters | adapted | self._reads(one) | {"selection": self._selection(one)}

    def _pools(self, one: Method, hyperparameters: Mapping[str, Any]) -> Pools:
        if one.needs == "inputs":
            return input_pools(self.work, self.adaptation, int(hyperparameters["examples"]))
        return self.anchor_pools()

    def _sweep(self, one: Method) -> dict[str, Any]:
        """Score every value of the coefficient on the validation split; keep the best value and the whole curve."""
        hyperparameters, base, tasks = self._hyperparameters(one), self.work.opened.base, self.work.spec.tasks
        coefficient = swept_coefficient(one)
        path = merged_file(self.work.folder, one.name)
        update_file = path.with_suffix(".update")
        try:
            unit_update_to_file(
                one,
                base,
                self.work.finetuned,
                update_file,
                in_by_out=self.work.opened.model.in_by_out,
                cancel=self.work.cancel,
                **hyperparameters,
            )
            update = Checkpoint(update_file)
            answers = self.validate(
                [ModelToScore(one.name, Scaled(base, update, value), tasks) for value in coefficient.sweep]
            )
            curve = {name: [of_value[name].value for of_value in answers] for name in tasks}
            average = [sum(scores) / len(tasks) for scores in zip(*curve.values(), strict=True)]
            best = coefficient.sweep[average.index(max(average))]  # of equals the first, which is the smallest
            merged = Scaled(base, update, best)
            kinds = kinds_of(base)
            tensors = storable(one.name, kinds, merged.items())
            write_tensors(path, kinds, tensors, {"method": one.name}, cancel=self.work.cancel)
        finally:
            update_file.unlink(missing_ok=True)
        sweep = {
            "hyperparameter": coefficient.name,
            "values": list(coefficient.sweep),
            "average": average,
            "tasks": curve,
            "split": "validation",
        }
        return hyperparameters | {coefficient.name: best, "sweep": sweep, "selection": "validation"}

    def _hyperparameters(self, one: Method) -> dict[str, Any]:
        """What the method is given; a text that is left empty is not said."""
        given = one.defaults | self.work.spec.hyperparameters.get(one.name.removesuffix(SWEPT), {})
        return {name: value for name, value in given.items() if value != ""}

    def _selection(self, one: Method) -> str:
        """How the result's settings were selected; never on the test split."""
        if one.start is not None and self.work.spec.adaptation is not None:
            return "set by hand"
        if {one.name, one.start} & changed_hyperparameters(self.work.spec).keys():
            return "set by hand"
        return "fixed (zoo file)" if one.start is not None and self.work.spec.zoo.adapt else "fixed"

    def _reads(self, one: Method) -> dict[str, Any]:
        """What the result says about data that the method read beside the checkpoints."""
        if one.needs == "inputs":
            return {"inputs": "train" if one.split == "train" else "test, unlabelled"}
        if one.needs == "anchors":
            return {"anchors_seconds": self._anchors_seconds()}
        return {}

    def _anchors_seconds(self) -> float | None:
        """Seconds that constructing the anchors took, summed over units, which may have run in parallel."""
        units = self.work.store.units(self.work.anchors_run, "construct")
        blocks = {block.index for block in self.work.blocks}
        seconds = [unit.seconds for unit in units if unit.key.name in self.work.spec.tasks and unit.key.block in blocks]
        known = [taken for taken in seconds if taken is not None]
        return sum(known) if len(known) == len(seconds) else None

    def _inputs(self, one: Method) -> Sequence[TaskMoments] | None:
        """Each task's moments for a method that reads anchors or inputs; None for any other."""
        work, tasks = self.work, self.work.spec.tasks
        if one.needs == "anchors":
            require_unchanged(work.store, work.anchors_run, work.opened, tasks, work.blocks)
            anchors = [
                anchors_of(work.store, work.anchors_run, work.opened, tasks, block.index, work.device)
                for block in work.blocks
            ]
            blocks = [block.copy(work.device) for block in work.blocks]
            return [
                AnchorMoments(blocks, work.opened.tasks[name], [of_block[index] for of_block in anchors])
                for index, name in enumerate(tasks)
            ]
        if one.needs == "inputs":
            return [self._real_inputs(one, name) for name in tasks]
        return None

    def _real_inputs(self, one: Method, task: str) -> RealInputs:
        work = self.work
        split = self.splits.of(task, work.train_split(task)) if one.split == "train" else self.splits.test(task)
        return RealInputs(
            work.opened.model, work.opened.tasks[task], self.splits.heads[task], split, work.device, work.cancel
        )
