"""The head in a transformers checkpoint itself: a classifier, or the language head of a causal model.

The checkpoint's own class runs, with a stub in place of its base model that returns the output of the model in use. So a head
of any form works, and gives what the library gives.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fda.architectures.model import Model
from fda.architectures.transformers_model import TransformersModel
from fda.architectures.transforms import Batch
from fda.checkpoints.readers.names import named
from fda.checkpoints.weights import Weights
from fda.errors import UserError, first_line
from fda.tasks.head_tensors import Follows, fitted_head, follows, head_weights
from fda.tasks.saved_class import BaseStub, build_class, saved_class
from fda.zoos.survey import OpenZoo, tell_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_TOKEN = -1  # replaces padding where a head searches for a text's last token: no text contains it
# What Python raises where a head expects another output than the base model's.
_UNSUITED = (AttributeError, TypeError, ValueError, KeyError, IndexError, NotImplementedError)


@dataclass(frozen=True)
class OwnHead:
    """`module`: the checkpoint's class with its base model stubbed, without weights. `weights`: the head's.

    `tied`: its matrix that follows the embeddings of the model before it, or None. `pooler`: the checkpoint's pooler where
    the base has none: it cannot be merged, so it belongs to the head.
    """

    module: "PreTrainedModel" = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    causal: bool
    tied: Follows | None = None
    pooler: nn.Module | None = field(default=None, repr=False)

    def answer(self, model: Model, batch: Batch) -> Tensor:
        """As `TaskHead.answer`. UserError if the head needs more of the model than its output.

        Not for several threads at once: `to` gives each thread a head of its own.
        """
        stub = next(part for part in self.module.modules() if isinstance(part, BaseStub))
        weights = self._weights(model)
        stub.output = model.outputs(batch)
        if self.pooler is not None:
            stub.output["pooler_output"] = self.pooler(stub.output.last_hidden_state)
        try:
            # one tensor may have two names, of which a merged one follows the model and the other does not
            return functional_call(self.module, weights, (), self._inputs(batch), tie_weights=False).logits
        except _UNSUITED as error:
            raise UserError(
                f"the head of {type(self.module).__name__} asks its model for more than its output ({first_line(error)}), "
                "which is not read: give the task a `head` file, or a checkpoint of another class."
            ) from None
        finally:
            stub.output = None

    def writer(self, model: Model) -> "PreTrainedModel":
        """The checkpoint's class around the weights loaded in `model`, whose memory it shares: it can `generate` texts."""
        module = deepcopy(self.module)
        name = next(name for name, part in module.named_children() if isinstance(part, BaseStub))
        setattr(module, name, model.module)
        module.load_state_dict(self._weights(model), strict=False, assign=True)
        return module

    def _weights(self, model: Model) -> dict[str, Tensor]:
        """The head's tensors, the one that follows the model's embeddings included."""
        weights = dict(self.weights)
        if self.tied is not None:
            module = cast("PreTrainedModel", model.module)  # as in `_own_pooler`
            embeddings: Any = module.get_input_embeddings()
            weights[self.tied.name] = self.tied.of(embeddings.weight)
        return weights

    def to(self, device: torch.device | str) -> "OwnHead":
        weights = {name: tensor.to(device) for name, tensor in self.weights.items()}
        pooler = None if self.pooler is None else deepcopy(self.pooler).to(device)
        tied = None if self.tied is None else self.tied.to(device)
        return OwnHead(deepcopy(self.module), weights, self.causal, tied, pooler)

    @property
    def fingerprint(self) -> str:
        tensors = {**self.weights, **({} if self.pooler is None else self.pooler.state_dict(prefix="pooler."))}
        if self.tied is not None and self.tied.tail is not None:
            tensors[f"{self.tied.name} behind the embeddings"] = self.tied.tail
        tied = None if self.tied is None else (self.tied.name if self.tied.rows is None else str(self.tied))
        parts = [f"{name} {sha256(t.cpu().numpy().tobytes()).hexdigest()}" for name, t in sorted(tensors.items())]
        config = json.dumps(self.module.config.to_dict(), sort_keys=True, default=str)
        return sha256("\n".join([type(self.module).__name__, config, str(tied), *parts]).encode()).hexdigest()

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        if isinstance(batch, Tensor):
            return {"pixel_values": batch}
        if self.causal:
            return {"input_ids": batch.ids}
        return {"input_ids": batch.ids.masked_fill(~batch.mask, NO_TOKEN), "attention_mask": batch.mask.long()}


def own_head(opened: OpenZoo, name: str) -> OwnHead:
    """Return the head in a task's checkpoint. UserError as `saved_class`.

    Notes on where the checkpoint's tensors contradict its config are printed once.
    """
    saved = saved_class(opened, name)
    module = build_class(saved, stubbed=True)
    module.config.pad_token_id = NO_TOKEN  # after building: embeddings are made with the real one
    source, tied, untied = head_weights(opened, saved, module)
    for note in (*saved.notes, *((f"task {name!r}: {untied}",) if untied else ())):
        tell_once(note)
    tensors = fitted_head(source, module, tied)
    weights = {key: tensors[key].float() for key in module.state_dict() if key != tied}
    matrix = None if tied is None else follows(opened, saved, tied)
    return OwnHead(module, weights, saved.causal, matrix, _own_pooler(opened, saved.weights))


def _own_pooler(opened: OpenZoo, weights: Weights) -> nn.Module | None:
    """The checkpoint's pooler, if it has one and the base has none."""
    model = cast("TransformersModel", opened.model)  # the only kind whose checkpoints have heads of their own
    lacking = [name for name in model.expected if name.startswith("pooler.") and name not in opened.base]
    sources = {name: source for name in lacking if (source := named(weights, name, model.rename)) is not None}
    if not lacking or len(sources) < len(lacking):
        return None
    pooler = deepcopy(cast(nn.Module, model.module.pooler)).to_empty(device="cpu")
    pooler.load_state_dict({name.removeprefix("pooler."): weights[source].float() for name, source in sources.items()})
    return pooler
