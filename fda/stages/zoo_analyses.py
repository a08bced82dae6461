"""The panels that a zoo's checkpoints alone give, without a run: interference, and over-accumulation of the plain sum."""

from fda.cancel import NEVER
from fda.stages.interference import interference_table
from fda.stages.merged_updates import sum_table
from fda.store.analyses import Panel, Table
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import Zoo


def zoo_tables(zoo: Zoo) -> dict[Panel, Table]:
    """Of all tasks and blocks of the zoo, on the CPU; the keys are `ZOO_PANELS`. UserError as `open_zoo`."""
    opened = open_zoo(zoo)
    finetuned, blocks = list(opened.tasks.values()), opened.model.blocks
    return {
        "interference": interference_table(opened.base, finetuned, blocks, "cpu", NEVER),
        "over_accumulation": sum_table(opened.base, opened.tasks, blocks, opened.model.in_by_out),
    }
