"""The inputs that real samples give each block of a finetuned model, computed once per (checkpoint, data) and cached on disk.

They are the "real data" of the subspace similarity and the training data of layer-wise distillation.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from fda.architectures.within_memory import WithinMemory
from fda.home import fda_home
from fda.stages.work import Work
from fda.store.files import save_tensors
from fda.tasks.data import load_split
from fda.tasks.inputs import block_inputs

BATCH = 64  # samples a forward pass


class RealBlockInputs:
    """For one task: block index → (n, tokens, d) on the CPU, read from disk on access."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, block: int) -> Tensor:
        return load_file(self.folder / f"{block}.safetensors")["inputs"]


def real_block_inputs(work: Work, task: str, split: str, count: int) -> RealBlockInputs:
    """The inputs that `count` samples, spread over a split, give each block of the task's finetuned model.

    Not thread-safe: unless the inputs are cached, it loads the finetuned model into the shared module. UserError as
    `load_split`.
    """
    opened = work.opened
    data = load_split(opened.zoo.task(task), split, opened.model.transform)
    identity = (
        f"{opened.tasks[task].fingerprint} {data.fingerprint} {data.transform.identity} {count} "
        f"{opened.model.blocks[0].prefix}"  # the whole block, or its MLP
    )
    folder = fda_home() / "cache" / "block_inputs" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    files = [folder / f"{block.index}.safetensors" for block in opened.model.blocks]
    if not all(file.is_file() for file in files):
        opened.model.load(opened.tasks[task])
        opened.model.to(work.device)
        batches: list[list[Tensor]] = []

        def inputs(samples: Sequence[int]) -> list[Tensor]:
            return [x.cpu() for x in block_inputs(opened.model, data.at(samples).to(work.device))]

        for of_blocks in WithinMemory(BATCH).parts(data.spread(count), inputs):
            batches.append(of_blocks)
            work.cancel.check()
        opened.model.to("cpu")  # its memory is needed by what comes next
        for file, parts in zip(files, zip(*batches, strict=True), strict=True):
            save_tensors(file, {"inputs": torch.cat(parts)}, {"task": task, "split": split, "layout": "n, tokens, d"})
    return RealBlockInputs(folder)
