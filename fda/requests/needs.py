"""Estimates from shapes alone what a run on a model will need: peak memory, files, and roughly its time.

For a run with the paper's settings, all tasks and blocks, on one device. Measured costs are in `fda.requests.cost`.
"""

import re
import time
from functools import cache
from math import prod

from fda.architectures.model import Model
from fda.checkpoints.weights import Weights
from fda.merging.registry import MAIN_METHODS
from fda.settings import presets
from fda.zoos.zoo import Zoo

FLOAT_BYTES = 4  # everything is computed in float32
# Of one step of construction, measured on blocks of ViT-B/32, RoBERTa base and Llama's form: θ0, θi, τ and their gradients, and
# what the double backward keeps of each anchor's way through the block. Within about a third.
COPIES_OF_BLOCK, COPIES_OF_ANCHORS = 5, 100
COPIES_IN_MERGE = (
    4  # of the largest tensor, beside one for each task: the base, the merged one, and what is computed with
)
OPERATIONS = 18  # floating-point ones of a plain step, for each parameter and token of a block: counted (a test does)
SHARE = 0.5  # of the rate of matrix products that such a step reaches, about
PROGRAM_BYTES = 700 * 2**20  # the libraries themselves


def memory_bytes(zoo: Zoo, model: Model, base: Weights) -> int:
    """The peak: of construction, of merging, or of evaluation, which has the whole model in memory."""
    largest = max(info.count for info in base.header.values())
    merging = (COPIES_IN_MERGE + len(zoo.tasks)) * largest
    evaluation = sum(info.count for info in base.header.values())
    return PROGRAM_BYTES + FLOAT_BYTES * max(construction_values(zoo, model), merging, evaluation)


def construction_values(zoo: Zoo, model: Model) -> int:
    """Numbers that are in memory at once while anchors of the largest block are constructed."""
    largest = max(sum(prod(shape) for shape in block.shapes.values()) for block in model.blocks)
    return COPIES_OF_BLOCK * largest + COPIES_OF_ANCHORS * anchor_values(zoo, model)


def run_bytes(zoo: Zoo, model: Model, base: Weights | None) -> int:
    """Disk for the anchors of all units, and for the file of every method that is compared without being named.

    `base`: the fitted base, as which merged models are; None where its tensors are not known, which are then not counted.
    """
    anchors = FLOAT_BYTES * anchor_values(zoo, model) * len(model.blocks) * len(zoo.tasks)
    files = sum(name != "individual" for name in MAIN_METHODS)
    return anchors + files * (0 if base is None else tensor_bytes(base))


def tensor_bytes(weights: Weights) -> int:
    """Of the tensors themselves, by their dtypes."""
    bits = (int((re.findall(r"\d+", info.dtype) or ["8"])[0]) for info in weights.header.values())  # BOOL names none
    return sum(info.count * each // 8 for info, each in zip(weights.header.values(), bits, strict=True))


def anchor_values(zoo: Zoo, model: Model) -> int:
    """Numbers in the anchors of one unit."""
    paper = presets(zoo.family)["paper"]
    return paper.anchors * (paper.tokens or model.tokens) * model.width


def construction_seconds(zoo: Zoo, model: Model, rate: float) -> float:
    """All anchors, by plain steps, where matrix products run at `rate` operations a second. Within a factor of two or so."""
    paper = presets(zoo.family)["paper"]
    parameters = sum(prod(shape) for block in model.blocks for shape in block.shapes.values())
    tokens = paper.anchors * (paper.tokens or model.tokens)
    return len(zoo.tasks) * paper.steps * OPERATIONS * parameters * tokens / (SHARE * rate)


@cache
def product_rate(seconds: float = 0.2) -> float:
    """Operations a second of float32 matrix products on the device that a run would take, measured for so long."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix, done = torch.randn(1024, 1024, device=device), 0
    _ = matrix @ matrix
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        (matrix @ matrix)[0, 0].item()  # it is there when its number is
        done += 1
    return done * 2 * 1024**3 / (time.perf_counter() - began)
