"""Checks from configs and headers, before any weights are downloaded, that a task has a head that fits its data.

`fda.tasks.heads` and `fda.tasks.own_heads` load heads.
"""

from fda.architectures.model import Model
from fda.architectures.transformers_config import CONFIG
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.errors import Misfit, UserError
from fda.tasks.head_tensors import fitted_head, tied_name, untied_by
from fda.tasks.heads import head_file
from fda.tasks.saved_class import build_class, class_in
from fda.tasks.zero_shot import require_text_tower, text_tokenizer
from fda.zoos.hub import SMALL_FILES
from fda.zoos.seen import Seen
from fda.zoos.zoo import ZooTask


def head_problems(
    task: ZooTask, model: Model, base: Seen, checkpoint: Seen, classes: int | None, notes: list[str] | None = None
) -> list[str]:
    """Sentences on everything that prevents scoring a task. `classes`: the number of classes in the data, if known.

    Appends to `notes` where the checkpoint's config and the tensors of its head disagree.
    """
    try:
        rows = _rows(task, model, base, checkpoint, [] if notes is None else notes)
    except UserError as error:
        return list(error.problems) if isinstance(error, Misfit) else [str(error)]
    if rows is None or classes is None or task.data is None or rows in (1, classes) or rows > classes:
        return []
    return [
        f"task {task.name!r}: the data have {classes} classes in {task.data.label!r}, but the head answers {rows}: give the "
        "head that was made for these data."
    ]


def _rows(task: ZooTask, model: Model, base: Seen, checkpoint: Seen, notes: list[str]) -> int | None:
    """The number of a head's classes; None if unknown or without meaning. UserError if the task has no head that fits."""
    if isinstance(task.head, str):
        rows, features = head_file(task).header["weight"].shape
        if (width := _embedding(model)) not in (None, features):
            raise UserError(
                f"task {task.name!r}: the head {task.head} is made for {features} features, but the model gives {width}: give "
                "the head that was made for it."
            )
        return rows
    if task.head is not None:
        if base.weights is not None:
            require_text_tower(model, base.weights, base.model)
        if model.kind == "transformers":
            base.bring(SMALL_FILES)
            text_tokenizer(base.folder)
        return len(task.head.zero_shot.classes)
    if model.kind == "open_clip":  # its checkpoints hold no head: they can be merged, not scored
        return None
    return _of_checkpoint(task, model, base, checkpoint, notes)


def _of_checkpoint(task: ZooTask, model: Model, base: Seen, checkpoint: Seen, notes: list[str]) -> int | None:
    if checkpoint.weights is None:
        return None
    folder = next((seen.folder for seen in (checkpoint, base) if (seen.folder / CONFIG).is_file()), checkpoint.folder)
    kind = class_in(task.name, folder, checkpoint.weights)
    notes += kind.notes
    if checkpoint.known:
        module = build_class(kind, stubbed=True)
        tied = tied_name(module)
        downloaded = checkpoint.listing is None and not isinstance(kind.weights, AdaptedWeights)
        if downloaded and tied and model.embeddings and (untied := untied_by(kind, tied, model)):
            notes.append(f"task {task.name!r}: {untied}")
            tied = None
        fitted_head(kind.weights, module, tied)
    return None if kind.causal else kind.config.num_labels


def _embedding(model: Model) -> int | None:
    """The width of the model's embedding; None if its config does not give it."""
    if model.kind == "open_clip":
        return getattr(model.module.visual, "output_dim", None)
    projection = getattr(model.module, "visual_projection", None)
    return model.width if projection is None else projection.out_features
