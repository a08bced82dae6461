"""The arguments that a transformers model passes to its blocks beside the hidden state: position embeddings, masks.

The model runs once with its blocks stubbed, so that nothing is computed, and the stubs record the arguments of their calls.
`fda.architectures.transformer_blocks` finds the blocks and uses these arguments.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fda.errors import UserError

FEW_TOKENS = 5  # for text models whose blocks need a fixed number of tokens: the paper's for RoBERTa
NOT_READ = "this architecture is not read, docs/architectures.md lists those that are"
LONGEST = 1024  # tokens that a text model's supply covers, unless the caller asks for more


@dataclass(frozen=True)
class _PerToken:
    """A tensor that a model passes to its blocks; the size of `axes` is the number of tokens."""

    tensor: Tensor
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Supply:
    """A block's arguments beside the hidden state. `longest`: most tokens they cover; `exact`: only that number."""

    args: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    longest: int | None = None
    exact: bool = False

    def on(self, device: str | torch.device) -> "Supply":
        """Return the supply with its tensors on `device`, so that a call copies none there."""

        def moved(value: Any) -> Any:
            return replace(value, tensor=value.tensor.to(device)) if isinstance(value, _PerToken) else value

        return replace(self, args=_map(moved, self.args), keywords=_map(moved, dict(self.keywords)))

    def of(self, x: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return (positional, keyword) arguments for hidden states x (n, tokens, d), on the device and with the dtype of x."""
        tokens = x.shape[1]
        if self.longest is not None and (tokens > self.longest or (self.exact and tokens != self.longest)):
            limit = "exactly" if self.exact else "at most"
            raise UserError(
                f"anchors of {tokens} tokens do not suit this model: its blocks take {limit} {self.longest}."
            )
        return (
            tuple(_cut(value, x) for value in self.args),
            {name: _cut(value, x) for name, value in self.keywords.items()},
        )


def _cut(value: Any, x: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(_cut(part, x) for part in value)
    if not isinstance(value, _PerToken):
        return value
    tensor = value.tensor
    for axis in value.axes:
        tensor = tensor.narrow(axis, 0, x.shape[1])
    return tensor.to(x.device, x.dtype if tensor.is_floating_point() else tensor.dtype)


def config_size(config: Any) -> tuple[int, int] | None:
    """Return (height, width) of a config's images, or None; the largest in training if the model interpolates positions."""
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return size, size
    return None if size is None else tuple(size)[-2:]


def image_supplies(
    model: nn.Module, layers: nn.ModuleList, size: tuple[int, int] | None = None
) -> tuple[int, int, list[Supply]]:
    """Return (tokens, width, supply of each block) of an image model, for images of `size` (height, width; None: its config's).

    UserError if the config names no size, or if the blocks cannot be followed.
    """
    size = size or config_size(model.config)
    if size is None:
        raise UserError(f"the config of {type(model).__name__} names no image_size: {NOT_READ}.")
    image = torch.zeros(1, getattr(model.config, "num_channels", 3), *size)
    tokens, width, calls = _calls(model, layers, {"pixel_values": image})
    supplies = []
    for call in map(_fixed, calls):
        exact = any(isinstance(value, _PerToken) for value in _flat(call))
        supplies.append(_supply(call, tokens if exact else None, exact))
    return tokens, width, supplies


def text_supplies(model: nn.Module, layers: nn.ModuleList, tokens: int | None) -> tuple[int, int, list[Supply]]:
    """Return (longest, width, supply of each block) of a text model; supplies cover any number of tokens up to the longest.

    Where the arguments for few tokens are not a part of those for many, supplies cover exactly `tokens` (default: the paper's).
    UserError for a model that takes no embedded tokens, has too few positions, or whose blocks cannot be followed.
    """
    takes = inspect.signature(model.forward).parameters
    if "inputs_embeds" not in takes or not hasattr(_input_embeddings(model), "weight"):
        raise UserError(
            f"{type(model).__name__} takes neither images (pixel_values) nor embedded tokens (inputs_embeds): {NOT_READ}."
        )
    most = text_positions(model)
    if tokens is not None and most is not None and tokens > most:
        raise UserError(f"{type(model).__name__} has positions for {most} tokens: give `tokens` of at most {most}.")
    longest = max(tokens or 0, min(most or LONGEST, LONGEST), 2)
    count, width, calls = _calls(model, layers, _text(model, longest))
    _, _, shorter = _calls(model, layers, _text(model, count - 1))
    matched = [_matched(call, short, count) for call, short in zip(calls, shorter, strict=True)]
    general = [call for call in matched if call is not None]
    if len(general) == len(matched):
        return count, width, [_supply(call, count, False) for call in general]
    count = tokens or FEW_TOKENS
    _, width, calls = _calls(model, layers, _text(model, count))
    return count, width, [_supply(_fixed(call), count, True) for call in calls]


def text_positions(model: nn.Module) -> int | None:
    """Return how many tokens a text model has positions for, or None; in RoBERTa padding takes the first ones."""
    most = getattr(model.config, "max_position_embeddings", None)
    table = next((m for name, m in model.named_modules() if name.split(".")[-1] == "position_embeddings"), None)
    padding = getattr(table, "padding_idx", None)
    return most if most is None or padding is None else most - padding - 1


def _input_embeddings(model: Any) -> Any:
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # models that embed characters or bytes
        return None


def _text(model: nn.Module, tokens: int) -> dict[str, Any]:
    """Inputs of this many embedded tokens, all zero."""
    width = _input_embeddings(model).weight.shape[1]
    inputs: dict[str, Any] = {"inputs_embeds": torch.zeros(1, tokens, width)}
    if "use_cache" in inspect.signature(model.forward).parameters:
        inputs["use_cache"] = False
    return inputs


Call = tuple[tuple[Any, ...], dict[str, Any]]


def _calls(model: nn.Module, layers: nn.ModuleList, inputs: dict[str, Any]) -> tuple[int, int, list[Call]]:
    """(tokens, width, arguments of each block beside the hidden state) of a run on these inputs.

    Runs twice with different constant weights, which take no memory: arguments that differ depend on the weights, and the
    supply of a pure function of (parameters, x) must not.
    """
    first, second = (_stubbed_run(model, layers, inputs, value) for value in (0.0, 0.5))
    shapes = {tuple(hidden) for hidden, _ in first}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UserError(f"the blocks of {type(model).__name__} change the shape of what they get: {NOT_READ}.")
    for (_, call), (_, repeated) in zip(first, second, strict=True):
        if not all(_same(a, b) for a, b in zip(_flat(call), _flat(repeated), strict=True)):
            raise UserError(
                f"the blocks of {type(model).__name__} are handed values that depend on its weights, beside the hidden "
                f"state: {NOT_READ}."
            )
    _, tokens, width = first[0][0]
    return tokens, width, [call for _, call in first]


def _stubbed_run(
    model: nn.Module, layers: nn.ModuleList, inputs: dict[str, Any], value: float
) -> list[tuple[torch.Size, Call]]:
    """(shape of the hidden state, other arguments) of each block's call, with all weights equal to `value`."""
    device = next((buffer.device for buffer in model.buffers()), torch.device("cpu"))
    scalar = torch.tensor(value, device=device)
    weights = {name: scalar.expand(tensor.shape) for name, tensor in model.named_parameters()}
    inputs = {name: entry.to(device) if isinstance(entry, Tensor) else entry for name, entry in inputs.items()}
    error: Exception | None = None
    for as_tuple in (False, True):  # blocks return a tensor or a tuple, and only the model knows which
        calls: dict[int, tuple[torch.Size, Call]] = {}
        with _stubs(layers, calls, as_tuple):
            try:
                with torch.no_grad():
                    functional_call(model, weights, (), inputs)
            except Exception as problem:  # models raise anything on unusual inputs
                error = error or problem
                continue
        if len(calls) == len(layers) and len({shape for shape, _ in calls.values()}) == 1:
            return [calls[index] for index in range(len(layers))]
    why = f" ({error})" if error else ""
    raise UserError(
        f"the blocks of {type(model).__name__} could not be followed from input to output{why}: {NOT_READ}."
    )


@contextmanager
def _stubs(layers: nn.ModuleList, calls: dict[int, tuple[torch.Size, Call]], as_tuple: bool) -> Iterator[None]:
    """Within this context, blocks record the arguments of their calls and return the hidden state unchanged."""

    def stub(index: int, hidden_name: str) -> Callable[..., Any]:
        def forward(*args: Any, **keywords: Any) -> Any:
            hidden, args = (args[0], args[1:]) if args else (keywords.pop(hidden_name), ())
            calls[index] = (hidden.shape, (args, keywords))
            return (hidden,) if as_tuple else hidden

        return forward

    for index, layer in enumerate(layers):
        layer.forward = stub(index, next(iter(inspect.signature(layer.forward).parameters)))
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _supply(call: Call, longest: int | None, exact: bool) -> Supply:
    for value in _flat(call):
        if not isinstance(value, _PerToken | bool | int | float | str | None):
            raise UserError(f"the blocks of this model are handed a {type(value).__name__}, which cannot be supplied.")
    return Supply(*call, longest, exact)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in _flat(part)]
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _flat(value[key])]
    return [value]


def _map(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function to the leaves of tuples and dicts of the same structure."""
    if isinstance(values[0], tuple):
        return tuple(_map(function, *parts) for parts in zip(*values, strict=True))
    if isinstance(values[0], dict):
        return {key: _map(function, *(value[key] for value in values)) for key in values[0]}
    return function(*values)


def _fixed(call: Call) -> Call:
    """The arguments as a supply for exactly one number of tokens."""
    return _map(lambda value: _PerToken(value, ()) if isinstance(value, Tensor) else value, call)


def _matched(call: Call, shorter: Call, tokens: int) -> Call | None:
    """The arguments with their token axes, from calls with `tokens` and `tokens` − 1; None if cutting does not relate them."""

    def match(long: Any, short: Any) -> Any:
        if not isinstance(long, Tensor):
            return long
        if long.ndim != short.ndim:
            raise ValueError
        axes = tuple(axis for axis in range(long.ndim) if long.shape[axis] != short.shape[axis])
        cut = _cut(_PerToken(long, axes), torch.empty(1, tokens - 1))
        if cut.shape != short.shape or not torch.equal(cut, short.to(cut.dtype)):
            raise ValueError
        return _PerToken(long, axes)

    try:
        return _map(match, call, shorter)
    except (ValueError, AttributeError, KeyError):
        return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return a is b or a == b
