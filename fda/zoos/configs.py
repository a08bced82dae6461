"""Compare a task's config, vocabulary and preparation of samples with the base's, before any tensor is read.

Every model of a zoo runs as the base's config describes: with its heads, activations, epsilons and rotary frequencies. Tensors
that fit by name and shape may have been trained as another function (Code Llama differs from Llama 2 only in rope_theta), and
would silently score wrong. So a difference in structure or in the function's constants is a problem. A difference too small to
matter is a note, and so is one in the preparation of samples, which always follows the base.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from fda.architectures.model import Model
from fda.architectures.transforms import IMAGE_FILES, MOST_TOKENS
from fda.checkpoints.json_files import VOCABULARY_BYTES, read_json
from fda.checkpoints.readers.misfits import MOST_PROBLEMS
from fda.checkpoints.readers.open import FOLDER_FILES
from fda.errors import UserError
from fda.zoos.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG

# Fields without effect on the function for tensors of equal shapes: training, heads, caching, token ids, older names.
NO_MATTER = re.compile(
    r".*drop.*|.*_token_ids?|vocab_size|initializer_.*|use_cache|cache_implementation|pretraining_tp|tie_word_embeddings|"
    r"projection_dim|head_dim|n_inner|max_position_embeddings|n_positions|max_window_layers|summary_.*|classifier_.*|"
    r".*router_.*|encoder_stride|out_features|out_indices|stage_names|apply_layernorm|reshape_hidden_states|type"
)
# Epsilons up to this value have almost no effect: published copies of one model differ in them (1e-5, 1e-6).
SMALL_EPSILON = 1e-4
PREPARATION = (
    "image_mean",
    "image_std",
    "size",
    "crop_size",
    "resample",
    "rescale_factor",
    "do_normalize",
    "do_rescale",
)
OPEN_CLIP_PREPARATION = ("mean", "std", "size", "interpolation", "resize_mode")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")
LONGEST_VALUE = 60  # characters of a field's value that are shown


@dataclass(frozen=True)
class Comparison:
    """Differences, a sentence each: `problems` forbid merging, `notes` do not."""

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def config_place(model: str | Path) -> Path:
    """Return the folder with a model's configs: the model itself, or the folder of a file with a library's usual name."""
    path = Path(model)
    return path.parent if path.name in FOLDER_FILES and not path.is_dir() else path


def compared(model: Model, base: Path, folder: Path, task: str) -> Comparison:
    """Compare the files in a task's `folder` with those in the folder of the `base`, whose architecture is `model`.

    Files that one of them lacks are not compared. UserError if the task's config is of another architecture.
    """
    if model.kind == "open_clip":
        return _open_clip(base, folder, task)
    comparison = _transformers(base, folder, task)
    more = _preparation(base, folder, task) if model.images else _vocabulary(base, folder, task)
    return Comparison(comparison.problems, comparison.notes + more)


def _transformers(base: Path, folder: Path, task: str) -> Comparison:
    from fda.architectures.transformers_config import merged_part, read_config

    if not all((each / TRANSFORMERS_CONFIG).is_file() for each in (base, folder)):
        return Comparison()
    base_config = merged_part(read_config(base))
    try:
        task_config = merged_part(read_config(folder))
    except UserError as error:  # the task needs only its weights
        return Comparison(notes=(f"task {task!r}: its config is not compared with the base's, since {error}",))
    if task_config.model_type != base_config.model_type:
        raise UserError(
            f"task {task!r} ({folder}) is a {task_config.model_type} model, but the base is a {base_config.model_type} model: "
            "give a checkpoint that was finetuned from this base."
        )
    return _differences(_declared(base_config), _declared(task_config), folder / TRANSFORMERS_CONFIG, task)


def _declared(config: Any) -> dict[str, Any]:
    """The fields that an architecture's config adds to those of every config, with defaults."""
    from transformers import PreTrainedConfig

    values = config.to_dict()
    names = {field.name for field in fields(config)} if is_dataclass(config) else set(vars(config))
    names -= {field.name for field in fields(PreTrainedConfig)}
    return {name: value for name, value in values.items() if name in names}


def _open_clip(base: Path, folder: Path, task: str) -> Comparison:
    base_config, task_config = _json(base / OPEN_CLIP_CONFIG), _json(folder / OPEN_CLIP_CONFIG)
    if base_config is None or task_config is None:
        return Comparison()
    comparison = _differences(_image_tower(base_config), _image_tower(task_config), folder / OPEN_CLIP_CONFIG, task)
    base_fields, task_fields = (config.get("preprocess_cfg") or {} for config in (base_config, task_config))
    notes = _prepared(base_fields, task_fields, OPEN_CLIP_PREPARATION, task, folder)
    return Comparison(comparison.problems, comparison.notes + notes)


def _image_tower(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an open_clip config on the image tower, with the library's defaults."""
    from open_clip import CLIPVisionCfg

    whole = config.get("model_cfg") or {}
    tower = {field.name: field.default for field in fields(CLIPVisionCfg)} | dict(whole.get("vision_cfg") or {})
    return {"embed_dim": whole.get("embed_dim"), "quick_gelu": bool(whole.get("quick_gelu")), "vision_cfg": tower}


def _differences(base: Mapping[str, Any], other: Mapping[str, Any], file: Path, task: str) -> Comparison:
    """Compare the fields of a task's config `file` (`other`) with the base's."""
    base, other = _flat(base), _flat(other)
    problems, notes = [], []
    for name in sorted({*base, *other}):
        expected, value = base.get(name), other.get(name)
        field = name.rsplit(".", 1)[-1]
        if NO_MATTER.fullmatch(field) or _same(expected, value):
            continue
        difference = f"`{name}` is {_short(value)}, but {_short(expected)} in the base's, by which merged models run"
        if _is_negligible(field, expected, value):
            notes.append(f"task {task!r}: in {file} {difference}; its own scores may differ a little.")
        else:
            problems.append(f"{file}: {difference}: give a checkpoint finetuned from this base.")
    rest = len(problems) - MOST_PROBLEMS
    more = [f"{file}: {rest} more fields differ from the base's."] if rest > 0 else []
    return Comparison((*problems[:MOST_PROBLEMS], *more), tuple(notes))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested fields to `part.field`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _same(a: Any, b: Any) -> bool:
    """Equal, or two names of one activation."""
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return list(a) == list(b)
    if a == b or not (isinstance(a, str) and isinstance(b, str)):
        return a == b
    from transformers.activations import ACT2FN

    return a in ACT2FN and b in ACT2FN and type(ACT2FN[a]) is type(ACT2FN[b])


def _is_negligible(field: str, a: Any, b: Any) -> bool:
    """Whether two values of a constant give nearly the same function on inputs of `MOST_TOKENS` tokens at most."""
    if "eps" in field:
        return all(isinstance(value, float) and 0 <= value <= SMALL_EPSILON for value in (a, b))
    if "window" in field:
        return all(value is None or value >= MOST_TOKENS for value in (a, b))
    return False


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _preparation(base: Path, folder: Path, task: str) -> tuple[str, ...]:
    return _prepared(_processor_fields(base), _processor_fields(folder), PREPARATION, task, folder)


def _processor_fields(folder: Path) -> dict[str, Any]:
    whole = next((content for name in IMAGE_FILES if (content := _json(folder / name)) is not None), {})
    inner = whole.get("image_processor")
    return inner if isinstance(inner, dict) else whole


def _prepared(base: Mapping, other: Mapping, names: tuple[str, ...], task: str, folder: Path) -> tuple[str, ...]:
    return tuple(
        f"task {task!r} ({folder}) prepares images with `{name}` {_short(other[name])}, the base with {_short(base[name])}; "
        "all are prepared as the base does."
        for name in names
        if name in other and name in base and type(other[name]) is type(base[name]) and other[name] != base[name]
    )


def _vocabulary(base: Path, folder: Path, task: str) -> tuple[str, ...]:
    expected, ids = vocabulary(base), vocabulary(folder)
    common = expected.keys() & ids.keys()
    moved = sorted(token for token in common if expected[token] != ids[token])
    if not moved:
        return ()
    first = min(moved, key=ids.__getitem__)
    return (
        f"task {task!r} ({folder}): {len(moved)} of {len(common)} tokens have other numbers than in the base's vocabulary "
        f"({first!r} is {ids[first]}, there {expected[first]}); all texts are prepared by the base's.",
    )


def vocabulary(folder: Path) -> dict[str, int]:
    """Return token → id from the first vocabulary file that exists; empty without one, or if it has an unusual form."""
    readers: tuple[Callable[[Path], dict[str, int]], ...] = (_of_tokenizer, _of_map, _of_lines)
    for name, reader in zip(VOCABULARIES, readers, strict=True):
        if (folder / name).is_file():
            try:
                return reader(folder / name)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                return {}
    return {}


def _of_tokenizer(path: Path) -> dict[str, int]:
    whole = read_json(path, VOCABULARY_BYTES)
    ids = whole["model"]["vocab"]
    if isinstance(ids, list):  # Unigram: [token, score]
        ids = {token: index for index, (token, _) in enumerate(ids)}
    return dict(ids) | {added["content"]: added["id"] for added in whole.get("added_tokens") or ()}


def _of_map(path: Path) -> dict[str, int]:
    return dict(read_json(path, VOCABULARY_BYTES))


def _of_lines(path: Path) -> dict[str, int]:
    return {token: index for index, token in enumerate(_text(path).split("\n"))}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(VOCABULARY_BYTES).decode("utf-8")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
