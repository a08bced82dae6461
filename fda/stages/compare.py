"""Merge and score the methods of a run. A failing method stores its reason; the others continue.

Each merged model is written to its file tensor by tensor and scored from there. `merge_method.py` merges; `scoring.py` computes
the models' answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fda.cancel import Cancelled
from fda.checkpoints.weights import Checkpoint
from fda.errors import UserError
from fda.jobs.failures import log_traceback, sentence
from fda.merging.method import Method
from fda.merging.methods.mix import is_mix
from fda.merging.registry import method
from fda.requests.runs import missing_need
from fda.stages.examples import keep_examples
from fda.stages.merge_method import MethodMerger, swept_coefficient
from fda.stages.meter import Meter
from fda.stages.scored import SampleCounter
from fda.stages.scoring import EvaluationSet, ModelToScore, answer, stay_in_memory
from fda.stages.splits import Splits
from fda.stages.work import Work
from fda.store.files import merged_file
from fda.store.predictions import save_predictions
from fda.store.refusals import is_full
from fda.store.store import MethodResult, Score, UnitKey
from fda.tasks.answers import Answers
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


class Comparison:
    """What all methods of one comparison share."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tasks = work.spec.tasks
        self.splits = Splits(work)
        self.merger = MethodMerger(
            work, self.splits, lambda models: self._answers(models, self.splits.sets(validation=True))
        )
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
            keys += [(UnitKey("adapt", one.name, block.index), self.merger.epochs(one)) for block in self.work.blocks]
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
                self.settings[one.name] = self.merger.merge(one)
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
            answers = self._answers(models, self.splits.sets())
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
            of_method = [given for model, given in zip(models, answers, strict=True) if model.owner == one.name]
            self._store(one, {task: given[task] for given in of_method for task in given})

    def _data_stay_in_memory(self) -> bool:
        try:
            return stay_in_memory(self.splits.sets())
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
            Score(one.name, name, self.work.data(name).split, of_task.metric, of_task.value, of_task.count)
            for name, of_task in answers.items()
        ]
        perplexity = {name: of_task.perplexity for name, of_task in answers.items() if of_task.perplexity is not None}
        settings, meter = self.settings[one.name], self.cost[one.name]
        settings |= {"perplexity": perplexity} if perplexity else {}
        settings |= self.splits.notes(list(answers))
        store.add_result(
            run_id, MethodResult(one.name, "done", settings, meter.seconds, meter.peak_bytes, None), scores
        )
        store.update_unit(run_id, UnitKey("evaluate", one.name), state="done", step=self._to_score(one))

    def keep_examples(self) -> None:
        """Keep test samples for the view Examples; a problem goes to the log."""
        run = self.work.store.run(self.work.run_id)
        problems = keep_examples(self.work.store, run, self.splits.test, self.work.cancel)
        for problem in problems.values():
            tell_on_stderr(f"no examples: {problem}")

    def _to_score(self, one: Method) -> int:
        """How many samples a method's models answer."""
        swept = self.splits.count(True) * len(swept_coefficient(one).sweep) if one.swept else 0
        return self.splits.count(False) + swept

    def _models(self, one: Method) -> list[ModelToScore]:
        """The method's model; `individual` has one model a task."""
        if one.name == "individual":
            return [ModelToScore(one.name, self.work.opened.tasks[name], (name,)) for name in self.tasks]
        return [ModelToScore(one.name, Checkpoint(merged_file(self.work.folder, one.name)), self.tasks)]

    def _answers(self, models: Sequence[ModelToScore], sets: Mapping[str, EvaluationSet]) -> list[dict[str, Answers]]:
        work = self.work
        with work.phases.during("score"):  # also within a sweep's merging
            return answer(work.opened.model, models, sets, work.device, cancel=work.cancel, report=self.scored.add)
