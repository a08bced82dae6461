"""The head that a transformers checkpoint brings itself: a classifier, or the language head of a causal model.

Not written again here: the checkpoint's own class runs, with a stub in place of its base model that hands on what the base
model in use gave. So a head of any form works, and gives what the library gives. A language head that shares its matrix with
the token embeddings follows those of the model before it, as the library ties them; but PEFT unties what an adapter changes.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fda.architectures.disagreements import agreed, unused
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
from fda.checkpoints.readers.names import RenamedWeights, fitted, named
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.errors import Misfit, UserError
from fda.zoos.survey import OpenZoo, tell_once

CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification")
LANGUAGE_HEADS = ("ForCausalLM", "LMHeadModel", "BertGenerationDecoder")
NO_TOKEN = -1  # stands for padding where a head looks for a text's last token: no text has it


# What Python raises where a head finds another output than it was written for.
_UNSUITED = (AttributeError, TypeError, ValueError, KeyError, IndexError, NotImplementedError)


class _Stub(nn.Module):
    """In place of the base model: gives what was put into it.

    `alias`: the one part of the base model that gives its output, by which some heads ask for it (OPT's `model.decoder`).
    """

    given: Any = None

    def __init__(self, config: Any = None, alias: str | None = None) -> None:
        super().__init__()
        self.config, self.alias = config, alias

    def __getattr__(self, name: str) -> Any:
        return self if name == self.__dict__.get("alias") else super().__getattr__(name)

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.given


@dataclass(frozen=True)
class Follows:
    """A head's matrix that is the token embeddings of the model before it.

    `name`: among the head's weights. `rows`: how many of the embeddings' rows it has, where its checkpoint's vocabulary was
    cut; `tail`: rows behind them that only its checkpoint has, of tokens that were added to its vocabulary; else None.
    """

    name: str
    rows: int | None = None
    tail: Tensor | None = field(default=None, repr=False)

    def of(self, embeddings: Tensor) -> Tensor:
        """(tokens, d) → (the head's tokens, d)."""
        return embeddings[: self.rows] if self.tail is None else torch.cat([embeddings, self.tail])

    def to(self, device: torch.device | str) -> "Follows":
        return self if self.tail is None else replace(self, tail=self.tail.to(device))


@dataclass(frozen=True)
class OwnHead:
    """`module`: the checkpoint's class with its base model stubbed, without weights. `weights`: its own.

    `tied`: its matrix that follows the embeddings of the model before it, or None. `pooler`: the checkpoint's pooler, where
    the base has none that it could be merged with, so that it belongs to the head.
    """

    module: nn.Module = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    causal: bool
    tied: Follows | None = None
    pooler: nn.Module | None = field(default=None, repr=False)

    def answer(self, model: TransformersModel, batch: Batch) -> Tensor:
        """As `TaskHead`. Not for several threads at once: `to` gives each a head of its own. UserError if the head asks the
        model for more than its output."""
        stub = next(part for part in self.module.modules() if isinstance(part, _Stub))
        weights = dict(self.weights)
        if self.tied is not None:
            weights[self.tied.name] = self.tied.of(model.module.get_input_embeddings().weight)
        stub.given = model.outputs(batch)
        if self.pooler is not None:
            stub.given["pooler_output"] = self.pooler(stub.given.last_hidden_state)
        try:
            # one tensor may have two names, of which a merged one follows the model and the other does not
            return functional_call(self.module, weights, (), self._inputs(batch), tie_weights=False).logits
        except _UNSUITED as error:
            raise UserError(
                f"the head of {type(self.module).__name__} asks its model for more than its output ({first_line(error)}), "
                "which is not read: give the task a `head` file, or a checkpoint of another class."
            ) from None
        finally:
            stub.given = None

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


@dataclass(frozen=True)
class OwnClass:
    """What a task's checkpoint is saved as: class, config, the folder of that config, and its tensors.

    `changed`: fields of config.json that the tensors deny, as the tensors have them; `notes`: a sentence on each.
    """

    kind: str
    config: Any
    folder: Path
    weights: Weights
    changed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
    if not _has_head(kind):
        raise UserError(
            f"task {name!r}: {folder} is saved as {kind or 'no class'}, which has no head of its own: give the task a `head` "
            f"(file or zero_shot), or save it as …{CLASSIFIERS[0]}, …{CLASSIFIERS[1]} or …{LANGUAGE_HEADS[0]}."
        )
    own = OwnClass(kind, config, folder, weights)
    if isinstance(weights, AdaptedWeights):
        return own
    found = agreed(config, weights, lambda one: build_class(replace(own, config=one)), library_names, folder / CONFIG)
    notes = [f"task {name!r}: {note}" for note in found.notes]
    if left := unused(weights, found.module, library_names(found.module)):
        notes.append(
            f"task {name!r}: {len(left)} tensors of {weights.path} have no place in {kind}, the class in its config, and are "
            f"left out, as the library leaves them out: the first is {left[0]}."
        )
    return replace(own, config=found.config, changed=found.changed, notes=tuple(notes))


def _has_head(kind: str) -> bool:
    return kind.endswith(LANGUAGE_HEADS) or any(part in kind for part in CLASSIFIERS)


def own_head(opened: OpenZoo, name: str) -> OwnHead:
    """The head in a task's checkpoint. What its tensors deny of its config is told once. UserError as `own_class`."""
    own = own_class(opened, name)
    module = build_class(own, stubbed=True)
    module.config.pad_token_id = NO_TOKEN  # after building: embeddings are made with the real one
    saved, tied, untied = head_weights(opened, own, module)
    for note in (*own.notes, *((f"task {name!r}: {untied}",) if untied else ())):
        tell_once(note)
    found = fitted_head(saved, module, tied)
    weights = {key: found[key].float() for key in module.state_dict() if key != tied}
    follows = None if tied is None else _follows(opened, own, tied)
    return OwnHead(module, weights, own.causal, follows, _own_pooler(opened, own.weights))


def fitted_head(saved: Weights, module: nn.Module, tied: str | None) -> Mapping[str, Tensor]:
    """The head's tensors by the names of a stubbed class, but the one that follows the embeddings. Misfit if one is missing."""
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items() if key != tied}
    if not expected:
        return {}
    rename = library_names(module)
    found = fitted(saved, expected, rename=rename, optional=expected)
    names = dict(found.names) if isinstance(found, RenamedWeights) else {name: name for name in found}
    for one, other in library_ties(module).items():  # two names of one tensor, of which files hold either
        for absent, there in ((one, other), (other, one)):
            if absent in expected and absent not in names and there in names:
                names[absent] = names[there]
    missing = [name for name in expected if name not in names]
    if missing:
        kind = type(module).__name__
        if missing == [tied_name(module, even_if_untied=True)]:
            raise Misfit(
                [
                    f"{saved.path} has no tensor {missing[0]}, and its {CONFIG} says that the head of {kind} is not the token "
                    "embeddings (`tie_word_embeddings: false`), so the library would make one at random: set it to true if "
                    "they are, or save the model again with its head."
                ]
            )
        raise Misfit(
            [
                f"{saved.path} has no tensor {missing[0]}, which {kind}, the class in its {CONFIG}, has in its head: give the "
                "task a `head` (file or zero_shot), or save the checkpoint with its head."
            ]
        )
    return RenamedWeights(saved, names)


def _follows(opened: OpenZoo, own: OwnClass, tied: str) -> Follows:
    """How a tied matrix lies to the embeddings of the merged model, whose tokens may be more or fewer."""
    name = named(own.weights, opened.model.embeddings, opened.model.rename)
    common = opened.base.header[opened.model.embeddings].shape[0]
    rows = common if name is None else own.weights.header[name].shape[0]
    if rows == common:
        return Follows(tied)
    return Follows(tied, rows, own.weights[name][common:].float() if rows > common else None)


def _own_pooler(opened: OpenZoo, weights: Weights) -> nn.Module | None:
    """The checkpoint's pooler, if it has one and the base has none."""
    lacking = [name for name in opened.model.expected if name.startswith("pooler.") and name not in opened.base]
    found = {name: named(weights, name, opened.model.rename) for name in lacking}
    if not lacking or None in found.values():
        return None
    pooler = deepcopy(opened.model.module.pooler).to_empty(device="cpu")
    pooler.load_state_dict({name.removeprefix("pooler."): weights[own].float() for name, own in found.items()})
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


def head_weights(opened: OpenZoo, own: OwnClass, module: nn.Module) -> tuple[Weights, str | None, str | None]:
    """(where a head's tensors are found, its matrix that follows the embeddings or None, why it does not though it should).

    `module`: the head's class. A file that holds a matrix of its own, unlike its embeddings, unties the two, whatever the
    config says: so does the library. An adapter that changes the embeddings or the head that shares them, without
    `ensure_weight_tying`, unties them too: the head then is what the adapter made of it, or what it was in the base.
    """
    weights, tied = own.weights, tied_name(module)
    if tied is None or opened.model.embeddings is None:
        return weights, None, None
    if not isinstance(weights, AdaptedWeights):
        note = untied_by(own, tied, opened.model)
        return weights, None if note else tied, note
    if weights.config.get("ensure_weight_tying"):
        return weights, tied, None
    base, embeddings = opened.base, opened.model.embeddings
    embeddings = base.names[embeddings] if isinstance(base, RenamedWeights) else embeddings
    if not weights.changes(embeddings) and not weights.changes(tied):
        return weights, tied, None
    kept = RenamedWeights(opened.own_base, {tied: embeddings})
    return RenamedWeights(weights, {name: name for name in weights}, kept), None, None


def untied_by(own: OwnClass, tied: str, model: TransformersModel) -> str | None:
    """One sentence if the file holds a head's matrix that is not its embeddings, though the config ties them. Reads both."""
    matrix = named(own.weights, tied, model.rename)
    embeddings = named(own.weights, model.embeddings, model.rename)
    if matrix is None or embeddings is None or matrix == embeddings:
        return None
    if torch.equal(own.weights[matrix], own.weights[embeddings]):
        return None
    return (
        f"{own.folder / CONFIG} says that the head is the token embeddings (`tie_word_embeddings`), but the file's {matrix} "
        "differs from them: the head is the file's, as for the library."
    )


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
    for name in (type(module).base_model_prefix, "vision_model", "model"):
        base = getattr(module, name, None) if name else None
        if isinstance(base, nn.Module):
            setattr(module, name, _Stub(getattr(base, "config", None), _only_part(base)))
            return
    raise UserError(f"{folder / CONFIG}: the base model within {type(module).__name__} could not be found.")


def _only_part(base: nn.Module) -> str | None:
    """The name of the one whole model that a base model consists of, if there is one."""
    from transformers import PreTrainedModel

    parts = dict(base.named_children())
    return next(iter(parts)) if len(parts) == 1 and isinstance(*parts.values(), PreTrainedModel) else None


def library_ties(module: nn.Module) -> dict[str, str]:
    """Name → the name of the tensor that it is, as the library ties a class for its config."""
    return dict(getattr(module, "all_tied_weights_keys", None) or {})


def tied_name(module: nn.Module, *, even_if_untied: bool = False) -> str | None:
    """The matrix in a stubbed class that is its model's token embeddings; `even_if_untied`: that would be, if tied."""
    own = module.state_dict()
    listed = getattr(module, "_tied_weights_keys", None)
    ties = (listed if isinstance(listed, dict) else {}) if even_if_untied else library_ties(module)
    return next((one for one, other in ties.items() if one in own and other not in own), None)
