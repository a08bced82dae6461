"""The head that a transformers checkpoint brings itself: a classifier, or the language head of a causal model.

Not written again here: the checkpoint's own class runs, with a stub in place of its base model that hands on what the base
model in use gave. So a head of any form works, and gives what the library gives. A language head that shares its matrix with
the token embeddings follows those of the model before it, as the library ties them; but PEFT unties what an adapter changes.
"""

import json
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fda.architectures.transformers_model import (
    CONFIG,
    TransformersModel,
    compute_buffers,
    first_line,
    library_names,
    read_config,
)
from fda.architectures.transforms import Batch
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.names import RenamedWeights, fitted
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.zoos.survey import OpenZoo

CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification")
LANGUAGE_HEADS = ("ForCausalLM", "LMHeadModel")
NO_TOKEN = -1  # stands for padding where a head looks for a text's last token: no text has it


class _Stub(nn.Module):
    """In place of the base model: gives what was put into it."""

    given: Any = None

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.given


@dataclass(frozen=True)
class OwnHead:
    """`module`: the checkpoint's class with its base model stubbed, without weights. `weights`: its own.

    `tied`: its matrix that is the embeddings of the model before it, by name, or None. `pooler`: the checkpoint's pooler, where
    the base has none that it could be merged with, so that it belongs to the head.
    """

    module: nn.Module = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    causal: bool
    tied: str | None = None
    pooler: nn.Module | None = field(default=None, repr=False)

    def answer(self, model: TransformersModel, batch: Batch) -> Tensor:
        """As `TaskHead`. Not for several threads at once: `to` gives each a head of its own."""
        stub = next(part for part in self.module.modules() if isinstance(part, _Stub))
        weights = dict(self.weights)
        if self.tied is not None:
            weights[self.tied] = model.module.get_input_embeddings().weight
        stub.given = model.outputs(batch)
        if self.pooler is not None:
            stub.given["pooler_output"] = self.pooler(stub.given.last_hidden_state)
        try:
            found = functional_call(self.module, weights, (), self._inputs(batch))
        finally:
            stub.given = None
        return found.logits

    def to(self, device: torch.device | str) -> "OwnHead":
        weights = {name: tensor.to(device) for name, tensor in self.weights.items()}
        pooler = None if self.pooler is None else deepcopy(self.pooler).to(device)
        return OwnHead(deepcopy(self.module), weights, self.causal, self.tied, pooler)

    @property
    def fingerprint(self) -> str:
        tensors = {**self.weights, **({} if self.pooler is None else self.pooler.state_dict(prefix="pooler."))}
        parts = [f"{name} {sha256(t.cpu().numpy().tobytes()).hexdigest()}" for name, t in sorted(tensors.items())]
        config = json.dumps(self.module.config.to_dict(), sort_keys=True, default=str)
        return sha256("\n".join([type(self.module).__name__, config, str(self.tied), *parts]).encode()).hexdigest()

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        if isinstance(batch, Tensor):
            return {"pixel_values": batch}
        if self.causal:
            return {"input_ids": batch.ids}
        return {"input_ids": batch.ids.masked_fill(~batch.mask, NO_TOKEN), "attention_mask": batch.mask.long()}


@dataclass(frozen=True)
class OwnClass:
    """What a task's checkpoint is saved as: class, config, the folder of that config, and its tensors."""

    kind: str
    config: Any
    folder: Path
    weights: Weights

    @property
    def causal(self) -> bool:
        return self.kind.endswith(LANGUAGE_HEADS)


def own_class(opened: OpenZoo, name: str) -> OwnClass:
    """UserError if a task's checkpoint brings no head, or one of a kind that is not read."""
    task = opened.zoo.task(name)
    folder = next(
        (one for one in (Path(task.model), Path(opened.zoo.base.model)) if (one / CONFIG).is_file()), Path(task.model)
    )
    weights = open_weights(task.model, base=opened.own_base, rename=opened.model.rename)
    return class_in(name, folder, weights)


def class_in(name: str, folder: Path, weights: Weights) -> OwnClass:
    """The class of task `name`, whose config lies in `folder`. Reads headers only. UserError as `own_class`."""
    config = read_config(folder)
    kind = next(iter(config.architectures or ()), "")
    if isinstance(weights, AdaptedWeights):
        kind, config = _of_adapter(weights, config, kind)
    if not kind.endswith(LANGUAGE_HEADS + CLASSIFIERS):
        raise UserError(
            f"task {name!r}: {folder} is saved as {kind or 'no class'}, which has no head of its own: give the task a `head` "
            f"(file or zero_shot), or save it as …{CLASSIFIERS[0]}, …{CLASSIFIERS[1]} or …{LANGUAGE_HEADS[0]}."
        )
    return OwnClass(kind, config, folder, weights)


def own_head(opened: OpenZoo, name: str) -> OwnHead:
    """The head in a task's checkpoint. UserError as `own_class`."""
    own = own_class(opened, name)
    module = build_class(own, stubbed=True)
    module.config.pad_token_id = NO_TOKEN  # after building: embeddings are made with the real one
    saved, tied = head_weights(opened, own, module.state_dict())
    found = fitted_head(saved, module, tied)
    weights = {key: found[key].float() for key in module.state_dict() if key != tied}
    return OwnHead(module, weights, own.causal, tied, _own_pooler(opened, own.weights))


def fitted_head(saved: Weights, module: nn.Module, tied: str | None) -> Mapping[str, Tensor]:
    """The head's tensors by the names of a stubbed class, but the one that follows the embeddings. Misfit if one is missing."""
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items() if key != tied}
    return fitted(saved, expected, rename=library_names(module)) if expected else {}


def _own_pooler(opened: OpenZoo, weights: Weights) -> nn.Module | None:
    """The checkpoint's pooler, if it has one and the base has none."""
    found = opened.model.fit(weights)
    names = [name for name in found if name.startswith("pooler.") and name not in opened.base]
    if not names:
        return None
    pooler = deepcopy(opened.model.module.pooler).to_empty(device="cpu")
    pooler.load_state_dict({name.removeprefix("pooler."): found[name].float() for name in names})
    return pooler


def _of_adapter(weights: AdaptedWeights, config: Any, kind: str) -> tuple[str, Any]:
    """(class, config) that an adapter's config means over its base's, which knows nothing of the task.

    PEFT names the class itself where it has no task type for it, as for images.
    """
    from transformers.models.auto import modeling_auto as auto

    mappings = {
        "SEQ_CLS": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "CAUSAL_LM": auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    task_type, named = weights.config.get("task_type"), weights.config.get("auto_mapping")
    if type(config) in mappings.get(task_type, {}):
        kind = mappings[task_type][type(config)].__name__
    elif isinstance(named, dict) and str(named.get("base_model_class")).endswith(LANGUAGE_HEADS + CLASSIFIERS):
        kind = named["base_model_class"]
    config = deepcopy(config)
    ends = tuple(f".{end}.weight" for end in ("classifier", "classifier.out_proj", "score"))
    rows = [weights.header[name].shape[0] for name in weights if f".{name}".endswith(ends)]
    if kind.endswith(CLASSIFIERS) and rows:
        config.num_labels = rows[-1]
    return kind, config


def head_weights(opened: OpenZoo, own: OwnClass, expected: Collection[str]) -> tuple[Weights, str | None]:
    """(where a head's tensors are found, its matrix that follows the embeddings, or None). `expected`: the head's names.

    An adapter that changes the embeddings or the head that shares them, without `ensure_weight_tying`, unties the two: the
    head then is what the adapter made of it, or what it was in the base.
    """
    weights, tied = own.weights, tied_matrix(own.config, expected)
    if tied is None or not isinstance(weights, AdaptedWeights) or weights.config.get("ensure_weight_tying"):
        return weights, tied
    base, embeddings = opened.base, opened.model.embeddings
    embeddings = base.names[embeddings] if isinstance(base, RenamedWeights) else embeddings
    if not weights.changes(embeddings) and not weights.changes(tied):
        return weights, tied
    kept = RenamedWeights(opened.own_base, {tied: embeddings})
    return RenamedWeights(weights, {name: name for name in weights}, kept), None


def build_class(own: OwnClass, *, stubbed: bool = False) -> nn.Module:
    """The class on the meta device, without weights; `stubbed`: its base model replaced, ready to answer."""
    import transformers
    from transformers.utils import logging as library_logging

    whole = getattr(transformers, own.kind, None)
    if whole is None:
        raise UserError(f"{own.folder / CONFIG}: the installed transformers library has no {own.kind}.")
    config = deepcopy(own.config)
    level = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    try:
        with torch.device("meta"):
            module = whole._from_config(config, dtype=torch.float32, attn_implementation="eager")
        if stubbed:
            _stub_base(module, own.folder)
            compute_buffers(module)
    except UserError:
        raise
    except Exception as error:  # whatever a class does with fields that contradict each other
        raise UserError(f"transformers cannot build {own.folder / CONFIG} ({first_line(error)}): correct it.") from None
    finally:
        library_logging.set_verbosity(level)
    return module.eval().requires_grad_(False)


def _stub_base(module: nn.Module, folder: Path) -> None:
    for name in (type(module).base_model_prefix, "vision_model"):
        if name and isinstance(getattr(module, name, None), nn.Module):
            setattr(module, name, _Stub())
            return
    raise UserError(f"{folder / CONFIG}: the base model within {type(module).__name__} could not be found.")


def tied_matrix(config: Any, expected: Collection[str]) -> str | None:
    """The head's matrix that is the token embeddings', if the library ties them for this config."""
    if not getattr(config, "tie_word_embeddings", False):
        return None
    return next((name for name in ("lm_head.weight", "embed_out.weight") if name in expected), None)
