"""The frame of a merged model whose task is a LoRA adapter: the class that it means over its base, with the head it brings.

An adapter is no checkpoint by itself, so there are no names of its own to write: they are the library's. All other frames are
`fda.stages.export`'s.
"""

from dataclasses import replace
from pathlib import Path

from fda.architectures.transformers_build import library_names
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.names import RenamedWeights, fitted
from fda.checkpoints.weights import Weights
from fda.stages.export import Frame, frame
from fda.tasks.head_tensors import head_weights, tied_name
from fda.tasks.saved_class import build_class, saved_class
from fda.zoos.survey import OpenZoo


def frame_of(opened: OpenZoo, task: str | None) -> Frame:
    """As `frame`, and for tasks that are adapters too. UserError if an adapter brings no head."""
    if task is None or opened.model.kind == "open_clip":
        return frame(opened, task)
    task_class = saved_class(opened, task)
    stubbed = build_class(task_class, stubbed=True)
    saved, tied, _ = head_weights(opened, task_class, stubbed)
    if not isinstance(task_class.weights, AdaptedWeights):
        built = frame(opened, task)
        loosened = {} if tied or not tied_name(stubbed) else {"tie_word_embeddings": False}
        return replace(built, embeddings=tied and built.embeddings, config={**task_class.changed, **loosened})
    module = build_class(task_class)
    prefix = f"{type(module).base_model_prefix}."
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    merged = {prefix + name: name for name in opened.base if prefix + name in shapes}
    # the library makes a tied matrix from the embeddings
    head = {name: shape for name, shape in shapes.items() if name not in merged and name != tied}
    names = _names(opened.tasks[task])
    places = {name: names[source] for name, source in merged.items()}
    if head:
        places |= _names(fitted(saved, head, rename=library_names(module)))
    config = task_class.config.to_dict()
    changed = {} if task_class.causal else {name: config[name] for name in ("id2label", "label2id")}
    if saved is not task_class.weights:
        changed["tie_word_embeddings"] = False
    return Frame(
        RenamedWeights(saved, places),
        merged,
        (task_class.folder, Path(opened.zoo.task(task).model)),
        opened.model.kind,
        task_class.kind,
        opened.model.embeddings,
        changed,
    )


def _names(weights: Weights) -> dict[str, str]:
    """Shown name → name in the checkpoint, of weights that were fitted."""
    return dict(weights.names) if isinstance(weights, RenamedWeights) else {name: name for name in weights}
