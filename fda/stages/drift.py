"""The panel drift: how far each merged model's hidden states are from the experts' on test inputs, block by block."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fda.analysis.drift import Drift
from fda.architectures.model import Model
from fda.architectures.transforms import Batch, TextBatch
from fda.checkpoints.weights import Weights
from fda.stages.merged_updates import merged_models
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of
from fda.tasks.data import load_split

SAMPLES = 128  # a task
BATCH = 16  # every block's states are in memory at once

Call = tuple[tuple, dict[str, Any], Tensor]  # a block's arguments and its output (n, tokens, d)


@torch.no_grad()
def drift_tables(work: Work) -> dict[Panel, Table]:
    """Of the pretrained model and every merged model that the run keeps. UserError as `merged_models` and `load_split`."""
    models, notes = merged_models(work)
    every: dict[str, Weights] = {"pretrained": work.opened.base, **models}
    merged = work.opened.model
    # every subclass of Model is a dataclass
    expert = replace(merged, module=deepcopy(merged.module))  # pyright: ignore[reportArgumentType]
    rows, splits = [], set()
    for task in work.spec.tasks:
        data = work.data(task)
        splits.add(data.split)
        split = load_split(work.opened.zoo.task(task), data.split, merged.transform)
        indices = split.spread(SAMPLES)
        batches = [split.at(indices[at : at + BATCH]).to(work.device) for at in range(0, len(indices), BATCH)]
        expert.load(work.opened.tasks[task])
        expert.to(work.device)
        for method, weights in every.items():
            merged.load(weights)
            merged.to(work.device)
            for block, drift in zip(work.blocks, _drifts(work, merged, expert, batches), strict=True):
                rows.append((method, task, block.index, *drift.relative()))
    notes = [
        f"On at most {SAMPLES} samples a task of the {' and the '.join(sorted(splits))} split; no label is read.",
        *notes,
    ]
    return {"drift": table_of("drift", rows, notes)}


def _drifts(work: Work, merged: Model, expert: Model, batches: Sequence[Batch]) -> list[Drift]:
    """One a block of the run."""
    drifts = [Drift() for _ in work.blocks]
    ours, theirs = (
        [model.module.get_submodule(block.prefix[:-1]) for block in work.blocks] for model in (merged, expert)
    )
    for batch in batches:
        work.cancel.check()
        with _calls(ours) as of_merged:
            merged.outputs(batch)
        with _calls(theirs) as of_expert:
            expert.outputs(batch)
        for index, module in enumerate(ours):
            arguments, keywords, output = of_expert[index]
            on_expert = _states(module(*arguments, **keywords))
            drifts[index].add(of_merged[index][2], on_expert, output, _tokens(batch, output))
    return drifts


@contextmanager
def _calls(modules: Sequence[nn.Module]) -> Iterator[dict[int, Call]]:
    """Index → the arguments and output of each module's call within the context."""
    seen: dict[int, Call] = {}

    def watch(index: int, module: nn.Module) -> Any:
        def hook(_: nn.Module, arguments: tuple, keywords: dict[str, Any], output: Any) -> None:
            seen[index] = (arguments, keywords, _states(output))

        return module.register_forward_hook(hook, with_kwargs=True).remove

    with ExitStack() as hooks:
        for index, module in enumerate(modules):
            hooks.callback(watch(index, module))
        yield seen


def _states(output: Any) -> Tensor:
    """Some libraries' blocks return their hidden states first in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def _tokens(batch: Batch, states: Tensor) -> Tensor | None:
    """1 for a token, 0 for padding; None where every state is a token's."""
    if not isinstance(batch, TextBatch) or batch.mask.shape != states.shape[:2]:
        return None
    return batch.mask.to(states.dtype)
