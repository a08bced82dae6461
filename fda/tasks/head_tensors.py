"""Which tensors a checkpoint's own head has: its own, or the token embeddings of the model before it (tied).

A tied language head follows the embeddings of the merged model, as the library ties them; but PEFT unties what an adapter
changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fda.architectures.model import Model
from fda.architectures.transformers_build import library_names
from fda.architectures.transformers_config import CONFIG
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.names import RenamedWeights, fitted, named
from fda.checkpoints.weights import Weights
from fda.errors import Misfit
from fda.tasks.saved_class import SavedClass
from fda.zoos.survey import OpenZoo

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Follows:
    """A head's matrix that is the token embeddings of the model before it.

    `name`: among the head's weights. `rows`: how many of the embeddings' rows it has, where its checkpoint's vocabulary was
    cut; `tail`: further rows that only its checkpoint has, of tokens that were added to its vocabulary. Otherwise None.
    """

    name: str
    rows: int | None = None
    tail: Tensor | None = field(default=None, repr=False)

    def of(self, embeddings: Tensor) -> Tensor:
        """(tokens, d) → (the head's tokens, d)."""
        return embeddings[: self.rows] if self.tail is None else torch.cat([embeddings, self.tail])

    def to(self, device: torch.device | str) -> "Follows":
        return self if self.tail is None else replace(self, tail=self.tail.to(device))


def follows(opened: OpenZoo, saved: SavedClass, tied: str) -> Follows:
    """Compare a tied matrix with the embeddings of the merged model, which may have more or fewer tokens."""
    embeddings = opened.model.embeddings
    assert embeddings is not None, "`head_weights` gives a tied matrix only for a model with embeddings"
    name = named(saved.weights, embeddings, opened.model.rename)
    common = opened.base.header[embeddings].shape[0]
    rows = common if name is None else saved.weights.header[name].shape[0]
    if name is None or rows == common:
        return Follows(tied)
    return Follows(tied, rows, saved.weights[name][common:].float() if rows > common else None)


def fitted_head(weights: Weights, module: "PreTrainedModel", tied: str | None) -> Mapping[str, Tensor]:
    """Return a head's tensors by the names of its stubbed class, without the matrix `tied`. Misfit if one is missing."""
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items() if key != tied}
    if not expected:
        return {}
    rename = library_names(module)
    view = fitted(weights, expected, rename=rename, optional=expected)
    names = dict(view.names) if isinstance(view, RenamedWeights) else {name: name for name in view}
    for name, alias in library_ties(module).items():  # two names of one tensor, of which files hold either
        for absent, present in ((name, alias), (alias, name)):
            if absent in expected and absent not in names and present in names:
                names[absent] = names[present]
    missing = [name for name in expected if name not in names]
    if not missing:
        return RenamedWeights(weights, names)
    kind = type(module).__name__
    if missing == [tied_name(module, even_if_untied=True)]:
        raise Misfit(
            [
                f"{weights.path} has no tensor {missing[0]}, and its {CONFIG} says that the head of {kind} is not the token "
                "embeddings (`tie_word_embeddings: false`), so the library would make one at random: set it to true if "
                "they are, or save the model again with its head."
            ]
        )
    raise Misfit(
        [
            f"{weights.path} has no tensor {missing[0]}, which {kind}, the class in its {CONFIG}, has in its head: give the "
            "task a `head` (file or zero_shot), or save the checkpoint with its head."
        ]
    )


def head_weights(
    opened: OpenZoo, saved: SavedClass, module: "PreTrainedModel"
) -> tuple[Weights, str | None, str | None]:
    """(weights with the head's tensors, its matrix that follows the embeddings or None, a note if the file unties it).

    `module`: the head's class, stubbed. A file whose head matrix differs from its embeddings unties the two, whatever the
    config says, as in the library. An adapter without `ensure_weight_tying` that changes the embeddings, or the head that
    shares them, also unties them: the head is then what the adapter made of it, or what it was in the base.
    """
    weights, tied, model = saved.weights, tied_name(module), opened.model
    if tied is None or model.embeddings is None:
        return weights, None, None
    if not isinstance(weights, AdaptedWeights):
        note = untied_by(saved, tied, model)
        return weights, None if note else tied, note
    if weights.config.get("ensure_weight_tying"):
        return weights, tied, None
    base, embeddings = opened.base, model.embeddings
    embeddings = base.names[embeddings] if isinstance(base, RenamedWeights) else embeddings
    if not weights.changes(embeddings) and not weights.changes(tied):
        return weights, tied, None
    base_head = RenamedWeights(opened.own_base, {tied: embeddings})
    return RenamedWeights(weights, {name: name for name in weights}, base_head), None, None


def untied_by(saved: SavedClass, tied: str, model: Model) -> str | None:
    """Return a note if the file's head matrix differs from its embeddings, though the config ties them. Reads both."""
    if model.embeddings is None:
        return None
    matrix = named(saved.weights, tied, model.rename)
    embeddings = named(saved.weights, model.embeddings, model.rename)
    if matrix is None or embeddings is None or matrix == embeddings:
        return None
    if torch.equal(saved.weights[matrix], saved.weights[embeddings]):
        return None
    return (
        f"{saved.folder / CONFIG} says that the head is the token embeddings (`tie_word_embeddings`), but the file's {matrix} "
        "differs from them: the head is the file's, as for the library."
    )


def library_ties(module: "PreTrainedModel") -> dict[str, str]:
    """Tensor name → the name of the tensor it is tied to, as the library ties the class for its config."""
    return dict(getattr(module, "all_tied_weights_keys", None) or {})


def tied_name(module: "PreTrainedModel", *, even_if_untied: bool = False) -> str | None:
    """The matrix of a stubbed class that is tied to its model's token embeddings, or None.

    `even_if_untied`: the matrix that would be tied if the config tied it.
    """
    names = module.state_dict()
    keys = getattr(module, "_tied_weights_keys", None)
    ties = (keys if isinstance(keys, dict) else {}) if even_if_untied else library_ties(module)
    return next((name for name, target in ties.items() if name in names and target not in names), None)
