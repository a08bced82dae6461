"""Counts a model's tokens on the data, for image processors whose output size depends on the image."""

from dataclasses import replace

from fda.architectures.transformers_model import TransformersModel
from fda.tasks.data import load_split
from fda.zoos.survey import OpenZoo


def counted_on_data(opened: OpenZoo) -> OpenZoo:
    """The zoo with its tokens counted on the first sample of the first task that has data.

    Returns `opened` if the processor gives images of one size, or if no task has data. UserError as `load_split`, or if the
    model cannot take images of that size.
    """
    model = opened.model
    if not isinstance(model, TransformersModel) or model.processed is None or not model.processed.varies:
        return opened
    task = next((task for task in map(opened.zoo.task, opened.tasks) if task.data is not None), None)
    if task is None or task.data is None:
        return opened
    height, width = load_split(task, task.data.split, model.transform).images(1).shape[-2:]
    return replace(opened, model=model.of_images((height, width), f"the data of task {task.name!r} give"))
