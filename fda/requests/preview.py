"""What a zoo is, told from headers and configs alone: before anything is downloaded, and before any tensor is read.

How one model is seen is `fda.zoos.seen`, data `fda.tasks.data_seen`, heads `fda.tasks.heads_seen`; here what they are to each
other. What a run will need of memory, disk and time is `fda.requests.needs`.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fda.architectures.model import Model
from fda.architectures.transforms import IMAGE_FILES, TOKENIZER_FILES
from fda.checkpoints.readers.misfits import without_example
from fda.checkpoints.weights import TensorInfo, Weights
from fda.errors import Misfit, UserError
from fda.requests.needs import construction_seconds, memory_bytes, product_rate, run_bytes
from fda.tasks.data_seen import SeenData, data_problems, describe_data
from fda.tasks.heads_seen import head_problems
from fda.tasks.labels import head_classes, head_size, labels_note
from fda.zoos.configs import VOCABULARIES, compared, config_place
from fda.zoos.hub import SMALL_FILES, hub_cache
from fda.zoos.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, open_model, renamings
from fda.zoos.seen import Seen, described, look, model_type
from fda.zoos.survey import fit_base, fit_task
from fda.zoos.zoo import Zoo

CONNECTIONS = 8  # models of a zoo that are asked for side by side


class ModelPreview(BaseModel):
    """One checkpoint. `known`: whether its header could be read without a download; else the numbers are its config's, or None.

    `adapter_of`: of a LoRA adapter, the base that it names as its own; its tensors are then those of the adapted base.
    """

    model_config = ConfigDict(frozen=True)

    role: str
    model: str
    where: str
    architecture: str | None = None
    parameters: int | None = None
    tensors: int | None = None
    dtype: str | None = None
    bytes: int
    to_download: int
    blocks: int | None = None
    tensors_per_block: int | None = None
    width: int | None = None
    known: bool
    adapter_of: str | None = None


class Preview(BaseModel):
    """`problems`: why it cannot be merged or scored, a sentence each; `notes`: what does not hinder that.

    `download_bytes`: of the models; `data_bytes`: of the data sets, as far as the hub says it, unpacked too. `disk_bytes`: of
    both, the anchors and a merged model of every main method; `memory_bytes`: at the peak of a run, about; `seconds`: of
    construction on this machine, roughly; None where the blocks are not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str | None
    models: tuple[ModelPreview, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    download_bytes: int
    data_bytes: int = 0
    disk_free_bytes: int
    disk_bytes: int
    memory_bytes: int | None
    seconds: float | None = None


def preview(zoo: Zoo) -> Preview:
    """Look at every model of a zoo and at its data; what does not fit is among the `problems`. UserError without a base."""
    base = described(look(zoo.base.model))
    seen, problems, notes = {"base": base}, [], []
    rename = renamings(base.folder)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        looks = {
            task.name: pool.submit(look, task.model, base.weights, role=task.name, rename=rename) for task in zoo.tasks
        }
        data = _data(zoo, problems, notes)  # in this thread: what `datasets` shows of its progress knows but one
    for name, look_of_task in looks.items():
        with _kept(problems):
            seen[name] = described(look_of_task.result())
    model, fitted = None, None
    with _kept(problems):
        base.bring(IMAGE_FILES)  # it decides how many tokens an image has
        model = open_model(_where_seen(zoo, seen), base.weights)
        notes += model.notes
        if base.weights is not None:
            fitted = fit_base(model, base.weights)
    if model is not None:
        _compare(model, fitted, seen, data, problems, notes)
        for name in (name for name in data if name in seen):
            causes = {without_example(problem) for problem in problems}
            of_head = head_problems(zoo.task(name), model, base, seen[name], data[name].classes, notes)
            problems += [problem for problem in of_head if without_example(problem) not in causes]
            with _kept(problems):
                note = labels_note(data[name].names, head_classes(zoo.task(name)), head_size(zoo.task(name)))
                notes += [f"task {name!r}: {note}"] if note else []
    notes += _notes(zoo, seen)
    download = sum({one.model: one.to_download for one in seen.values()}.values())
    sets = {
        (data_set.path, data_set.name): one.bytes
        for name, one in data.items()
        if (data_set := zoo.task(name).data) is not None
    }
    free = shutil.disk_usage(_existing(hub_cache())).free
    disk = download + sum(sets.values()) + (0 if model is None else run_bytes(zoo, model, fitted))
    if disk > free:
        problems.append(
            f"{disk / 1e9:.1f} GB of disk are needed and {free / 1e9:.1f} GB are free: make room, or set HF_HOME and "
            "FDA_HOME to a larger disk."
        )
    return Preview(
        name=zoo.name,
        kind=None if model is None else model.kind,
        models=tuple(_row(role, one, model) for role, one in seen.items()),
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(dict.fromkeys(notes)),
        download_bytes=download,
        data_bytes=sum(sets.values()),
        disk_free_bytes=free,
        disk_bytes=disk,
        memory_bytes=None if model is None or fitted is None else memory_bytes(zoo, model, fitted),
        seconds=None if model is None else construction_seconds(zoo, model, product_rate()),
    )


def sentences(error: UserError) -> tuple[str, ...]:
    """All that is wrong, a sentence each."""
    return error.problems if isinstance(error, Misfit) else (str(error),)


@contextmanager
def _kept(problems: list[str]) -> Iterator[None]:
    """What is wrong within is put to the problems."""
    try:
        yield
    except UserError as error:
        problems += sentences(error)


def _where_seen(zoo: Zoo, seen: Mapping[str, Seen]) -> Zoo:
    """The zoo with its models where their configs are. Of a base with two configs its weights say which library's it is."""
    base, kind = seen["base"], zoo.base.kind
    if kind == "auto" and (base.folder / OPEN_CLIP_CONFIG).is_file():
        kind = "open_clip" if base.open_clip or not (base.folder / TRANSFORMERS_CONFIG).is_file() else "transformers"
    tasks = tuple(
        task.model_copy(update={"model": str(seen[task.name].folder)}) if task.name in seen else task
        for task in zoo.tasks
    )
    base_here = zoo.base.model_copy(update={"model": str(base.folder), "kind": kind})
    return zoo.model_copy(update={"base": base_here, "tasks": tasks})


def _data(zoo: Zoo, problems: list[str], notes: list[str]) -> dict[str, SeenData]:
    """What can be seen of the tasks' data; what is wrong with them is put to `problems`."""
    data = {}
    for task in (one for one in zoo.tasks if one.data is not None):
        with _kept(problems):
            data[task.name] = describe_data(task)
            problems += data_problems(task, data[task.name])
            notes += [data[task.name].note] if data[task.name].note else []
    return data


def _bring_preparation(model: Model, seen: Mapping[str, Seen]) -> None:
    """Let the small files be here that say how samples are prepared: the base's, and of the tasks what is compared with them.

    All of the tasks', where the base has none.
    """
    base = seen["base"]
    files, held = (IMAGE_FILES, IMAGE_FILES) if model.images else (SMALL_FILES, VOCABULARIES)
    base.bring(files)
    bare = not any((base.folder / name).is_file() for name in (IMAGE_FILES if model.images else TOKENIZER_FILES))

    def bring(one: Seen) -> None:
        one.bring(files) if bare else one.bring(one.first_of(held), unlike=base)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(bring, (one for name, one in seen.items() if name != "base")))


def _compare(
    model: Model,
    fitted: Weights | None,
    seen: Mapping[str, Seen],
    data: Mapping[str, SeenData],
    problems: list[str],
    notes: list[str],
) -> None:
    """Put to `problems` and `notes` what every task's config and tensors are to the base's, and how samples are prepared."""
    base = config_place(seen["base"].folder)
    with _kept(problems):
        _bring_preparation(model, seen)
        if data:
            _ = model.transform  # a tokenizer or processor that is not there, or cannot be read, is told now
    for name, one in seen.items():
        if name == "base":
            continue
        with _kept(problems):
            comparison = compared(model, base, config_place(one.folder), name)
            notes += comparison.notes
            if fitted is not None and one.weights is not None:
                fit_task(model, fitted, name, one.weights, comparison.problems)
            else:
                problems += comparison.problems


def _notes(zoo: Zoo, seen: Mapping[str, Seen]) -> Iterator[str]:
    usual = None if seen["base"].weights is None else _usual_dtype(seen["base"].weights)
    for name, one in seen.items():
        whose = "the base" if name == "base" else f"task {name!r}"
        if not one.known:
            compared = "" if one.weights is None else "; compared was what its config describes"
            yield f"{whose} ({one.model}): its tensors are known only after the download{compared}."
        if one.adapter_of is not None:
            yield f"{whose} ({one.model}) is a LoRA adapter of {one.adapter_of}; here its base is {zoo.base.model}."
        elif usual is not None and one.weights is not None and _usual_dtype(one.weights) != usual:
            yield f"{whose} ({one.model}) is {_usual_dtype(one.weights)}, the base {usual}; merged models are as the base is."


def _usual_dtype(weights: Weights) -> str | None:
    commonest = Counter(info.dtype for info in weights.header.values()).most_common(1)
    return commonest[0][0] if commonest else None


def _row(role: str, one: Seen, model: Model | None) -> ModelPreview:
    header = {} if one.weights is None else one.weights.header
    dtypes = Counter(info.dtype for info in header.values())
    if model is not None and role == "base":
        blocks, tensors, width = len(model.blocks), len(model.blocks[0].names), model.width
    else:
        blocks, tensors, width = repeated(header)
    return ModelPreview(
        role=role,
        model=one.model,
        where=one.where,
        architecture=model_type(one.folder) or ("open_clip" if _is_open_clip(one, model) else None),
        parameters=sum(info.count for info in header.values()) if header else None,
        tensors=len(header) or None,
        dtype=", ".join(name for name, _ in dtypes.most_common()) or None,
        bytes=one.bytes,
        to_download=one.to_download,
        blocks=blocks,
        tensors_per_block=tensors,
        width=width,
        known=one.known,
        adapter_of=one.adapter_of,
    )


def _is_open_clip(one: Seen, model: Model | None) -> bool:
    """Whether it is that library's by its config; weights without one are of the library of the base."""
    return (one.folder / OPEN_CLIP_CONFIG).is_file() or (model is not None and model.kind == "open_clip")


def repeated(header: Mapping[str, TensorInfo]) -> tuple[int | None, int | None, int | None]:
    """(blocks, tensors in each, width) told by names alone: the largest group of tensors that differ by one number in them.

    The width is the size that most tensors of a block have, the smallest of several.
    """
    groups: dict[str, dict[int, list[TensorInfo]]] = {}
    for name, info in header.items():
        parts = name.split(".")
        number_at = next((at for at, part in enumerate(parts) if part.isdigit()), None)
        if number_at is not None:
            groups.setdefault(".".join(parts[:number_at]), {}).setdefault(int(parts[number_at]), []).append(info)
    if not groups:
        return None, None, None
    blocks = max(groups.values(), key=lambda group: sum(info.count for block in group.values() for info in block))
    first = blocks[min(blocks)]
    sizes = Counter(size for info in first for size in set(info.shape))
    return len(blocks), len(first), min(sizes, key=lambda size: (-sizes[size], size), default=None)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
