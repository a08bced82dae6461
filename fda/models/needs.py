"""What a run on a model will need, told from shapes alone: its memory at the peak, and its files.

Meant is a run with the paper's settings, all tasks and blocks, on one device. What was measured on a device is `fda.runs.cost`.
"""

from math import prod

from fda.anchors.settings import presets
from fda.models.checkpoints import Weights
from fda.models.model import Model
from fda.models.zoo import Zoo

FLOAT_BYTES = 4  # everything is computed in float32
# Of one step of construction, measured on blocks of ViT-B/32, RoBERTa base and Llama's form: θ0, θi, τ and their gradients, and
# what the double backward keeps of each anchor's way through the block. Within about a third.
COPIES_OF_BLOCK, COPIES_OF_ANCHORS = 5, 100
COPIES_IN_MERGE = (
    4  # of the largest tensor, beside one for each task: the base, the merged one, and what is computed with
)
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


def run_bytes(zoo: Zoo, model: Model) -> int:
    """Disk for the anchors of all units."""
    return FLOAT_BYTES * anchor_values(zoo, model) * len(model.blocks) * len(zoo.tasks)


def anchor_values(zoo: Zoo, model: Model) -> int:
    """Numbers in the anchors of one unit."""
    paper = presets(zoo.family)["paper"]
    return paper.anchors * (paper.tokens or model.tokens) * model.width
