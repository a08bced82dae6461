"""Scores of a causal language model's folder on tasks of EleutherAI's lm-evaluation-harness, an optional library.

The harness loads the folder as transformers does, without code of the model's. Its tasks, prompts and metrics are its own.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from fda.errors import UserError

INSTALL = 'lm-evaluation-harness is not installed: `pip install "lm-eval[hf]"`.'
AGREE = "add --allow-code to agree to that"


@dataclass(frozen=True)
class HarnessScore:
    """One metric of one task; `error`: its standard error by the harness, None where it has none. `samples`: scored."""

    task: str
    metric: str
    value: float
    error: float | None
    samples: int


def harness_scores(
    folder: Path,
    tasks: Sequence[str],
    *,
    task_files: Path | None = None,
    samples: int | None = None,
    batch: int = 8,
    device: str = "cpu",
    allow_code: bool = False,
) -> list[HarnessScore]:
    """The metrics of every task. `samples`: only the first of each task. `task_files`: a folder with tasks of one's own.

    Only with `allow_code` is code run that is neither ours nor the harness's: functions of the tasks in `task_files`, metrics
    that come from a hub as modules, and programs that a model writes, as in HumanEval. UserError where that would be
    necessary, the library is missing, or a task is unknown.
    """
    try:
        import evaluate
        from lm_eval import evaluator
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError(INSTALL) from None
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: give a folder that `python -m fda export` wrote.")
    if task_files is not None and not allow_code:
        _require_no_code(task_files)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(task_files), include_defaults=False) if task_files else None
    if manager is None or any(task not in manager.all_tasks for task in tasks):  # thousands of files: read if needed
        manager = TaskManager(include_path=str(task_files) if task_files else None)
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        raise UserError(f"the harness has no task {unknown[0]!r}: `lm-eval ls tasks` lists them.")
    # pyright does not see the parameters through the class's decorators
    model = HFLM(pretrained=str(folder), device=device, batch_size=batch, trust_remote_code=False)  # pyright: ignore[reportCallIssue]
    with nullcontext() if allow_code else patch.object(evaluate, "load", _refuse_module):
        try:
            evaluation: Any = evaluator.simple_evaluate(
                model=model,
                tasks=list(tasks),
                task_manager=manager,
                limit=samples,
                log_samples=False,
                bootstrap_iters=0,
                confirm_run_unsafe_code=allow_code,
            )
        except ValueError as error:  # the harness's own check of its tasks
            if "marked as unsafe" not in str(error):
                raise
            raise UserError(f"a task runs programs that the model writes: {AGREE}.") from None
    return [
        score
        for task, metrics in evaluation["results"].items()
        for score in _scores(task, metrics, evaluation["n-samples"])
    ]


def _refuse_module(name: str, *_: object, **__: object) -> NoReturn:
    raise UserError(f"a task fetches the metric {name!r} as code from a hub: {AGREE}.")


def _require_no_code(folder: Path) -> None:
    """UserError if the tasks of a folder have functions of their own, which the harness would import."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give one with tasks as YAML files.")
    for path in sorted(folder.rglob("*")):
        is_task = path.suffix in (".yaml", ".yml")
        if path.suffix == ".py" or (is_task and "!function" in path.read_text(encoding="utf-8")):
            raise UserError(f"{path} is or calls code, which would be run: {AGREE}.")


def _scores(task: str, metrics: Mapping[str, Any], counts: Mapping[str, Any]) -> Iterator[HarnessScore]:
    """Of one task, whose metrics the harness names `METRIC,FILTER`."""
    for name, value in metrics.items():
        metric, comma, filtered = name.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, (int, float)):
            continue
        error = metrics.get(f"{metric}_stderr,{filtered}")
        yield HarnessScore(
            task,
            metric if filtered == "none" else f"{metric} ({filtered})",
            float(value),
            float(error) if isinstance(error, (int, float)) else None,
            counts[task]["effective"] if task in counts else 0,
        )
