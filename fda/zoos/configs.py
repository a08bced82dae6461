"""Does a task's checkpoint say of itself what the base says? Configs, vocabularies and preparation, before any tensor is read.

Every model of a zoo runs as the base's config describes: with its heads, activations, epsilons and rotary frequencies. Tensors
that fit by name and shape may have been trained as another function (Code Llama's are Llama 2's but for rope_theta), and would
then be scored wrongly without a word. So what differs in structure or in the function's constants is a problem, rope_theta too:
weights trained under one rotation mean nothing under another. What differs too little to matter, and how samples are prepared
(always as the base does), is a note.
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

# Fields that change nothing of the function on tensors of equal shapes: training, heads, caching, token numbers, older names.
NO_MATTER = re.compile(
    r".*drop.*|.*_token_ids?|vocab_size|initializer_.*|use_cache|cache_implementation|pretraining_tp|tie_word_embeddings|"
    r"projection_dim|head_dim|n_inner|max_position_embeddings|n_positions|max_window_layers|summary_.*|classifier_.*|"
    r".*router_.*|encoder_stride|out_features|out_indices|stage_names|apply_layernorm|reshape_hidden_states|type"
)
# Below it an epsilon changes next to nothing: published copies of one model differ in it (1e-5, 1e-6).
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
    """A sentence each: `problems` forbid merging, `notes` do not."""

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def config_place(model: str | Path) -> Path:
    """The folder whose configs belong to a model: itself, or of a file that a library names so, the one it lies in."""
    path = Path(model)
    return path.parent if path.name in FOLDER_FILES and not path.is_dir() else path


def compared(model: Model, base: Path, own: Path, task: str) -> Comparison:
    """The files beside a task's weights (folder `own`) against those beside the base's, whose architecture is `model`.

    A file that either lacks is not compared. UserError if the task's config is one of another architecture.
    """
    if model.kind == "open_clip":
        return _open_clip(base, own, task)
    found = _transformers(base, own, task)
    more = _preparation(base, own, task) if model.images else _vocabulary(base, own, task)
    return Comparison(found.problems, found.notes + more)


def _transformers(base: Path, own: Path, task: str) -> Comparison:
    from fda.architectures.transformers_config import merged_part, read_config

    if not all((folder / TRANSFORMERS_CONFIG).is_file() for folder in (base, own)):
        return Comparison()
    theirs = merged_part(read_config(base))
    try:
        mine = merged_part(read_config(own))
    except UserError as error:  # only its weights are needed
        return Comparison(notes=(f"task {task!r}: its config is not compared with the base's, since {error}",))
    if mine.model_type != theirs.model_type:
        raise UserError(
            f"task {task!r} ({own}) is a {mine.model_type} model, but the base is a {theirs.model_type} model: give a "
            "checkpoint that was finetuned from this base."
        )
    return _differences(_declared(theirs), _declared(mine), own / TRANSFORMERS_CONFIG, task)


def _declared(config: Any) -> dict[str, Any]:
    """The fields of an architecture's own, defaults filled in, without those that every config has."""
    from transformers import PreTrainedConfig

    names = {one.name for one in fields(config)} if is_dataclass(config) else set(vars(config))
    names -= {one.name for one in fields(PreTrainedConfig)}
    return {name: value for name, value in config.to_dict().items() if name in names}


def _open_clip(base: Path, own: Path, task: str) -> Comparison:
    theirs, mine = _json(base / OPEN_CLIP_CONFIG), _json(own / OPEN_CLIP_CONFIG)
    if theirs is None or mine is None:
        return Comparison()
    found = _differences(_image_tower(theirs), _image_tower(mine), own / OPEN_CLIP_CONFIG, task)
    prepared = [one.get("preprocess_cfg") or {} for one in (theirs, mine)]
    return Comparison(found.problems, found.notes + _prepared(*prepared, OPEN_CLIP_PREPARATION, task, own))


def _image_tower(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an open_clip config says of the image tower, the library's defaults filled in."""
    from open_clip import CLIPVisionCfg

    whole = config.get("model_cfg") or {}
    tower = {one.name: one.default for one in fields(CLIPVisionCfg)} | dict(whole.get("vision_cfg") or {})
    return {"embed_dim": whole.get("embed_dim"), "quick_gelu": bool(whole.get("quick_gelu")), "vision_cfg": tower}


def _differences(base: Mapping[str, Any], own: Mapping[str, Any], file: Path, task: str) -> Comparison:
    theirs, mine = _flat(base), _flat(own)
    problems, notes = [], []
    for name in sorted({*theirs, *mine}):
        there, here = theirs.get(name), mine.get(name)
        field = name.rsplit(".", 1)[-1]
        if NO_MATTER.fullmatch(field) or _same(there, here):
            continue
        told = f"`{name}` is {_short(here)}, but {_short(there)} in the base's, by which merged models run"
        if _hardly(field, there, here):
            notes.append(f"task {task!r}: in {file} {told}; its own scores may differ a little.")
        else:
            problems.append(f"{file}: {told}: give a checkpoint finetuned from this base.")
    rest = len(problems) - MOST_PROBLEMS
    more = [f"{file}: {rest} more fields differ from the base's."] if rest > 0 else []
    return Comparison((*problems[:MOST_PROBLEMS], *more), tuple(notes))


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Fields of parts as `part.field`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _same(one: Any, other: Any) -> bool:
    """Equal, or two names of one activation."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return list(one) == list(other)
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return one == other
    from transformers.activations import ACT2FN

    return one in ACT2FN and other in ACT2FN and type(ACT2FN[one]) is type(ACT2FN[other])


def _hardly(field: str, one: Any, other: Any) -> bool:
    """Whether two values of a constant give nearly the same function on what is read here."""
    if "eps" in field:
        return all(isinstance(value, float) and 0 <= value <= SMALL_EPSILON for value in (one, other))
    if "window" in field:
        return all(value is None or value >= MOST_TOKENS for value in (one, other))  # texts are cut to so many tokens
    return False


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _preparation(base: Path, own: Path, task: str) -> tuple[str, ...]:
    found = []
    for folder in (base, own):
        whole = next((one for name in IMAGE_FILES if (one := _json(folder / name)) is not None), {})
        inner = whole.get("image_processor")
        found.append(inner if isinstance(inner, dict) else whole)
    return _prepared(*found, PREPARATION, task, own)


def _prepared(base: Mapping, own: Mapping, names: tuple[str, ...], task: str, place: Path) -> tuple[str, ...]:
    return tuple(
        f"task {task!r} ({place}) prepares images with `{name}` {_short(own[name])}, the base with {_short(base[name])}; all "
        "are prepared as the base does."
        for name in names
        if name in own and name in base and type(own[name]) is type(base[name]) and own[name] != base[name]
    )


def _vocabulary(base: Path, own: Path, task: str) -> tuple[str, ...]:
    theirs, mine = vocabulary(base), vocabulary(own)
    moved = sorted(token for token in theirs.keys() & mine.keys() if theirs[token] != mine[token])
    if not moved:
        return ()
    first = min(moved, key=mine.__getitem__)
    return (
        f"task {task!r} ({own}): {len(moved)} of {len(theirs.keys() & mine.keys())} tokens have other numbers than in the "
        f"base's vocabulary ({first!r} is {mine[first]}, there {theirs[first]}); all texts are prepared by the base's.",
    )


def vocabulary(folder: Path) -> dict[str, int]:
    """Token → number, as the first file that is there says; empty if none is, or if it is none of the usual form."""
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
    found = whole["model"]["vocab"]
    if isinstance(found, list):  # Unigram: [token, score]
        found = {token: place for place, (token, _) in enumerate(found)}
    return dict(found) | {one["content"]: one["id"] for one in whole.get("added_tokens") or ()}


def _of_map(path: Path) -> dict[str, int]:
    return dict(read_json(path, VOCABULARY_BYTES))


def _of_lines(path: Path) -> dict[str, int]:
    return {token: place for place, token in enumerate(_text(path).split("\n"))}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(VOCABULARY_BYTES).decode("utf-8")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
