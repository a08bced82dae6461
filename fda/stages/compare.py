"""Merge and score the methods of a run. A failing method stores its reason; the others continue.

Each merged model is written to its file tensor by tensor and scored from there. `adapt.py` adapts blocks; `scoring.py` computes
the models' answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fda.cancel import Cancelled
from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import kinds_of, write_tensors
from fda.errors import UserError
from fda.jobs.failures import log_traceback, sentence
from fda.merging.merge import merge_to_file, storable
from fda.merging.method import SWEPT, Hyperparameter, Method, TaskMoments
from fda.merging.methods.mix import is_mix
from fda.merging.registry import method
from fda.merging.sweep import Scaled, unit_update_to_file
from fda.requests.recipe import kept_recipe
from fda.requests.runs import adapt_settings, changed_hyperparameters, missing_need
from fda.stages.adapt import Pools, adapt_to_file, anchor_pools, epochs, input_pools
from fda.stages.anchored import anchors_of
from fda.stages.examples import keep_examples
from fda.stages.meter import Meter
from fda.stages.mix import mix_to_file
from fda.stages.scored import SampleCounter
from fda.stages.scoring import EvaluationSet, ModelToScore, answer, stay_in_memory
from fda.stages.work import Work
from fda.store.files import merged_file
from fda.store.predictions import save_predictions
from fda.store.refusals import is_full
from fda.store.store import MethodResult, Score, UnitKey
from fda.tasks.answers import Answers
from fda.tasks.data import Split, load_split
from fda.tasks.first_samples import COUNT, samples_note
from fda.tasks.heads import TaskHead, task_head
from fda.tasks.task_inputs import AnchorMoments, RealInputs
from fda.zoos.hub import tell_on_stderr


def compare_methods(work: Work) -> None:
    """Run every method of the spec that has no result yet or whose merged model is damaged; store each result at once.

    UserError if no method of the run could be scored.
    """
    if work.device == "cpu":
        torch.set_num_threads(1)  # as in the lanes, so that a resumed run merges bit for bit like an uninterrupted one
    finished = {result.method for result in work.store.results(work.run_id)[0] if result.state == "done"}
    finished -= {name for name in finished if _is_damaged(work, merged_file(work.folder, name))}
    todo = [name for name in work.spec.methods if name not in finished]
    with work.phases.during("score"):
        comparison = Comparison(work)
        if work.spec.engine == "ray":
            todo = _compare_on_cluster(comparison, todo)
        comparison.merge_and_score(todo)
        comparison.keep_examples()
    work.phases.finish("compile", "adapt", "merge", "score")
    results = work.store.results(work.run_id)[0]
    if not any(result.state == "done" for result in results):
        raise UserError(f"no method could be scored: {results[0].message}")


def _compare_on_cluster(comparison: "Comparison", methods: Sequence[str]) -> list[str]:
    """Merge and score the methods on a Ray cluster; those that are left to this process.

    These are mixes, which read other runs, and what failed on a node, perhaps for lack of data that are only here.
    """
    from fda.stages.ray_engine import compare_on_ray  # Ray is an extra

    work, todo = comparison.work, [method(name) for name in methods if not is_mix(name)]
    keys = {one.name: comparison.plan(one) for one in todo}
    compare_on_ray(work, todo, keys)
    results = {result.method: result for result in work.store.results(work.run_id)[0]}
    for one in todo:
        if results[one.name].state == "failed":
            tell_on_stderr(f"{one.name} failed on its node, and is computed here: {results[one.name].message}")
            for key in keys[one.name]:
                work.store.reset_unit(work.run_id, key)
    return [name for name in methods if name not in results or results[name].state == "failed"]


def _is_damaged(work: Work, path: Path) -> bool:
    """A missing file is not damaged: its scores are stored, and users delete large models."""
    return path.is_file() and not work.is_whole(path)


def _coefficient(one: Method) -> Hyperparameter:
    """The hyperparameter that a swept method chooses."""
    if one.coefficient is None:
        raise ValueError(f"{one.name} has no hyperparameter to sweep")
    return one.coefficient


class Comparison:
    """What all methods of one comparison share."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tasks = work.spec.tasks
        self.adapt = adapt_settings(work.spec.zoo, work.spec.adaptation)
        self.heads: dict[str, TaskHead] = {name: task_head(work.opened, name) for name in self.tasks}
        self.data_notes: dict[tuple[str, str], str] = {}  # (task, split) → notes on its samples
        self.anchor_pools = cache(lambda: anchor_pools(work, self.adapt))  # of all starts
        self.split = cache(self._split)
        self.samples = cache(self._samples)
        self.scored = SampleCounter(work)
        self.settings: dict[str, dict[str, Any]] = {}
        self.cost: dict[str, Meter] = {}

    def merge_and_score(self, methods: Sequence[str]) -> None:
        """Merge and score these methods in this process. Each has a result then, if only that it failed."""
        todo = [method(name) for name in methods]
        for one in todo:
            self.plan(one)
        self.work.phases.count("merge", len(todo))
        merged = (one for one in todo if self.merge(one))
        for group in self.groups(merged):
            self.score(group)

    def plan(self, one: Method) -> list[UnitKey]:
        """Add the method's units to the store, so that progress has a total."""
        keys = [(UnitKey("evaluate", one.name), self._to_score(one))]
        if one.start is not None:
            keys += [(UnitKey("adapt", one.name, block.index), epochs(one, self.adapt)) for block in self.work.blocks]
        self.work.store.add_units(self.work.run_id, keys)
        return [key for key, _ in keys]

    def merge(self, one: Method) -> bool:
        """Write the method's merged file; False if that failed, with the reason in its result."""
        self.work.store.update_unit(self.work.run_id, UnitKey("evaluate", one.name), state="running", step=0)
        self.scored.begin(one.name)
        try:
            if lacking := missing_need(self.work.spec, one):
                raise UserError(lacking)
            with self.work.phases.during("merge"), Meter(self.work.device) as meter:
                self.settings[one.name] = self._merge(one)
            if (path := merged_file(self.work.folder, one.name)).is_file():
                self.work.keep(path)
        except Cancelled:
            raise
        except Exception as error:  # the other methods continue
            if is_full(error):  # they would have no room either
                raise
            self._fail(one, error)
            return False
        self.cost[one.name] = meter
        self.work.phases.advance("merge")
        return True

    def groups(self, merged: Iterable[Method]) -> Iterator[list[Method]]:
        """Groups of methods to score together: singly, or all at once where the data do not fit into memory."""
        if self._data_stay_in_memory():
            yield from ([one] for one in merged)
        elif group := list(merged):
            yield group

    def score(self, group: Sequence[Method]) -> None:
        """Score the methods' models on every task's test split and store the results."""
        models = [scored for one in group for scored in self._models(one)]
        try:
            found = self._answers(models, self._sets())
        except Cancelled:
            raise
        except Exception as error:
            if is_full(error):
                raise
            if len(group) == 1:
                self._fail(group[0], error)
            else:  # perhaps one method alone fails; the others' finished answers are kept on disk
                for one in group:
                    self.scored.begin(one.name)
                    self.score([one])
            return
        for one in group:
            answers = [given for own, given in zip(models, found, strict=True) if own.owner == one.name]
            self._store(one, {task: given[task] for given in answers for task in given})

    def _data_stay_in_memory(self) -> bool:
        try:
            return stay_in_memory(self._sets())
        except Exception:  # scoring will report what is wrong with the data
            return True

    def _fail(self, one: Method, error: Exception) -> None:
        store, run_id = self.work.store, self.work.run_id
        if not isinstance(error, UserError):
            log_traceback(store, run_id)
        message = sentence(error, store, run_id)
        store.add_result(run_id, MethodResult(one.name, "failed", {}, None, None, message))
        store.update_unit(run_id, UnitKey("evaluate", one.name), state="failed", message=message)

    def _store(self, one: Method, answers: Mapping[str, Answers]) -> None:
        store, run_id = self.work.store, self.work.run_id
        save_predictions(self.work.folder, one.name, answers)
        scores = [
            Score(one.name, name, self._data(name).split, found.metric, found.value, found.count)
            for name, found in answers.items()
        ]
        perplexity = {name: found.perplexity for name, found in answers.items() if found.perplexity is not None}
        settings, meter = self.settings[one.name], self.cost[one.name]
        settings |= {"perplexity": perplexity} if perplexity else {}
        splits = {name: self.split(name, self._data(name).split) for name in answers}
        for key, notes in (
            ("labels", {name: split.note for name, split in splits.items() if not self.heads[name].causal}),
            ("samples", {name: self.data_notes.get((name, self._data(name).split)) for name in answers}),
        ):
            said = {name: note for name, note in notes.items() if note}
            settings |= {key: said} if said else {}
        store.add_result(
            run_id, MethodResult(one.name, "done", settings, meter.seconds, meter.peak_bytes, None), scores
        )
        store.update_unit(run_id, UnitKey("evaluate", one.name), state="done", step=self._to_score(one))

    def keep_examples(self) -> None:
        """Keep test samples for the view Examples; a problem goes to the log."""
        run = self.work.store.run(self.work.run_id)
        problems = keep_examples(
            self.work.store, run, lambda task: self.split(task, self._data(task).split), self.work.cancel
        )
        for problem in problems.values():
            tell_on_stderr(f"no examples: {problem}")

    # merging ---------------------------------------------------------------------------------------------------------

    def _merge(self, one: Method) -> dict[str, Any]:
        """Write the method's merged file, if it has one; return the settings of its result."""
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
        recipe = kept_recipe(hyperparameters, one.name, work.spec.zoo, self.tasks)
        path = merged_file(work.folder, one.name)
        mix_to_file(recipe, work.opened, work.store, path, cancel=work.cancel)
        return hyperparameters | {"selection": "validation"}

    def _adapt(self, one: Method) -> dict[str, Any]:
        hyperparameters = self._hyperparameters(one)
        adapt_to_file(self.work, one, self.adapt, self._pools(one, hyperparameters))
        names = ["distance", f"{one.trained}_lr", f"{one.trained}_epochs", "batch"]
        names += ["weights_rate"] if one.trained == "weights" and self.adapt.weights_rate != "absolute" else []
        names += ["arithmetic"] if self.adapt.arithmetic != "plain" else []
        adapted = {name: getattr(self.adapt, name) for name in names}
        return hyperparameters | adapted | self._reads(one) | {"selection": self._selection(one)}

    def _pools(self, one: Method, hyperparameters: Mapping[str, Any]) -> Pools:
        if one.needs == "inputs":
            return input_pools(self.work, self.adapt, int(hyperparameters["examples"]))
        return self.anchor_pools()

    def _sweep(self, one: Method) -> dict[str, Any]:
        """Score every value of the coefficient on the validation split; keep the best value and the whole curve."""
        hyperparameters, base = self._hyperparameters(one), self.work.opened.base
        coefficient = _coefficient(one)
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
            models = [ModelToScore(one.name, Scaled(base, update, value), self.tasks) for value in coefficient.sweep]
            found = self._answers(models, self._sets(validation=True))
            curve = {name: [answers[name].value for answers in found] for name in self.tasks}
            average = [sum(scores) / len(self.tasks) for scores in zip(*curve.values(), strict=True)]
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
        seconds = [unit.seconds for unit in units if unit.key.name in self.tasks and unit.key.block in blocks]
        known = [taken for taken in seconds if taken is not None]
        return sum(known) if len(known) == len(seconds) else None

    def _inputs(self, one: Method) -> Sequence[TaskMoments] | None:
        """Each task's moments for a method that reads anchors or inputs; None for any other."""
        opened = self.work.opened
        if one.needs == "anchors":
            anchors = [
                anchors_of(self.work.store, self.work.anchors_run, opened, self.tasks, block.index, self.work.device)
                for block in self.work.blocks
            ]
            blocks = [block.copy(self.work.device) for block in self.work.blocks]
            return [
                AnchorMoments(blocks, opened.tasks[name], [of_block[index] for of_block in anchors])
                for index, name in enumerate(self.tasks)
            ]
        if one.needs == "inputs":
            return [self._real_inputs(one, name) for name in self.tasks]
        return None

    def _real_inputs(self, one: Method, task: str) -> RealInputs:
        data = self._data(task)
        split = self.split(task, data.train_split if one.split == "train" else data.split)
        opened = self.work.opened
        return RealInputs(opened.model, opened.tasks[task], self.heads[task], split, self.work.device, self.work.cancel)

    # scoring ---------------------------------------------------------------------------------------------------------

    def _to_score(self, one: Method) -> int:
        """How many samples a method's models answer."""
        return self.samples(False) + (self.samples(True) * len(_coefficient(one).sweep) if one.swept else 0)

    def _samples(self, validation: bool) -> int:
        """Samples of all tasks' test or validation splits; 1 if one cannot be loaded, which scoring then reports."""
        try:
            return sum(len(each.split) for each in self._sets(validation=validation).values())
        except Exception:  # datasets raises anything
            return 1

    def _models(self, one: Method) -> list[ModelToScore]:
        """The method's model; `individual` has one model a task."""
        if one.name == "individual":
            return [ModelToScore(one.name, self.work.opened.tasks[name], (name,)) for name in self.tasks]
        return [ModelToScore(one.name, Checkpoint(merged_file(self.work.folder, one.name)), self.tasks)]

    def _sets(self, *, validation: bool = False) -> dict[str, EvaluationSet]:
        found = {}
        for name in self.tasks:
            data = self._data(name)
            split = self.split(name, data.validation_split if validation else data.split)
            found[name] = EvaluationSet(split, self.heads[name], data)
        return found

    def _answers(self, models: Sequence[ModelToScore], sets: Mapping[str, EvaluationSet]) -> list[dict[str, Answers]]:
        work = self.work
        with work.phases.during("score"):  # also within a sweep's merging
            return answer(work.opened.model, models, sets, work.device, cancel=work.cancel, report=self.scored.add)

    def _data(self, task: str) -> Any:
        return self.work.spec.zoo.task(task).data

    def _split(self, task: str, split: str) -> Split:
        loaded = load_split(self.work.opened.zoo.task(task), split, self.work.opened.model.transform)
        notes = [loaded.skipped, samples_note(loaded, loaded.spread(COUNT))]
        self.data_notes[task, split] = " ".join(note for note in notes if note is not None)
        for note in (*notes, None if self.heads[task].causal else loaded.note):
            if note is not None:
                tell_on_stderr(f"task {task!r}, split {split!r}: {note}")
        return loaded
