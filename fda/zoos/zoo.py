"""A zoo: one YAML file that names a base model and the tasks finetuned from it. Contract of the project.

Validates and resolves paths; opens no checkpoint and needs no torch. `fda.zoos.survey` looks inside the files.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fda.errors import UserError
from fda.home import ASSETS, absolute, fda_home, require_readable
from fda.settings import Family
from fda.zoos.hub import snapshot_folder
from fda.zoos.hub_ids import is_hub_id
from fda.zoos.nearby import zoo_file_in
from fda.zoos.yaml_text import MOST_BYTES, read_yaml
from fda.zoos.zoo_keys import unused_key

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CONFIGURATION = re.compile(r"[^\W_][\w .,+=()@%&-]{0,199}")
_SPLIT_PART = r"\s*\w[\w.-]{0,99}\s*(\[[^\]/\\]{0,40}\])?\s*"  # as `fda.tasks.slices` reads it
SPLIT = re.compile(rf"{_SPLIT_PART}(\+{_SPLIT_PART}){{0,19}}")
PRESET_ZOOS = ASSETS / "zoos"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ZeroShot(_Part):
    """Class names and prompt templates of a zero-shot head; `{}` in a template stands for the class name."""

    classes: tuple[str, ...] = Field(min_length=2)
    templates: tuple[str, ...] = Field(min_length=1)


class ZeroShotHead(_Part):
    zero_shot: ZeroShot


Metric = Literal["auto", "accuracy", "matthews", "pearson", "perplexity", "exact_match", "final_answer"]


class TaskData(_Part):
    """A task's data: what `datasets` loads, its columns and splits, and the metric.

    `path`: a folder, a file (parquet, CSV, JSON lines) or a hub id; `name`: one of its configurations. `input`: a column of
    images or texts, or two columns of paired texts. A split may be a part of one, `train[90%:]`, drawn by `seed`
    (`fda.tasks.slices`). `samples`: the most samples of each split, drawn by `seed`. `tokens`: texts are cut to this length, or
    to a shorter one of the model. `label`: a class, a number, or for `exact_match` and `final_answer` the right answer;
    `perplexity` needs none. `prompt`: what a model reads, with `{}` for the text of the sample. `new_tokens`: the most tokens
    that it writes for a `final_answer`. `bad_rows`: whether empty or unreadable rows end a run, or are left out, up to 1 % of a
    split (`fda.tasks.rows`).
    """

    path: str
    name: str | None = None
    split: str = "test"
    validation_split: str | None = None
    train_split: str | None = None
    input: str | tuple[str, ...] = "image"
    label: str = "label"
    samples: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    metric: Metric = "auto"
    prompt: str | None = Field(None, max_length=4000)
    new_tokens: int | None = Field(None, ge=1, le=4096, description="for `final_answer`; 256 if left out")
    bad_rows: Literal["refuse", "skip"] = "refuse"

    @field_validator("name")
    @classmethod
    def _name_is_no_path(cls, name: str | None) -> str | None:
        if name is not None and not CONFIGURATION.fullmatch(name):  # `datasets` makes a folder of its cache of it
            raise ValueError(
                "the name of a configuration has no /, \\, colons or control characters, and no dot at its start"
            )
        return name

    @field_validator("split", "validation_split", "train_split")
    @classmethod
    def _split_is_no_path(cls, split: str | None) -> str | None:
        if split is not None and not SPLIT.fullmatch(split):
            raise ValueError(
                "the name of a split has letters, digits, '.', '_' and '-' only; parts of one are train[:1000]"
            )
        return split

    @field_validator("input")
    @classmethod
    def _one_or_two_columns(cls, columns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not isinstance(columns, str) and len(columns) not in (1, 2):
            raise ValueError("one column, or a list of two that belong together")
        return columns[0] if not isinstance(columns, str) and len(columns) == 1 else columns

    @model_validator(mode="after")
    def _prompts_are_whole(self) -> "TaskData":
        if self.tokens is not None and self.metric in ("exact_match", "final_answer"):
            raise ValueError("`tokens` would cut the ends off prompts, which the model continues: leave it out")
        return self

    @model_validator(mode="after")
    def _a_prompt_has_a_place_for_one_text(self) -> "TaskData":
        if self.prompt is not None and (self.prompt.count("{}") != 1 or not isinstance(self.input, str)):
            raise ValueError("a `prompt` has one {}, where the text of the one column in `input` goes in")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input


class ZooTask(_Part):
    name: str
    model: str = Field(min_length=1)
    head: str | ZeroShotHead | None = None
    data: TaskData | None = None
    title: str | None = None
    description: str | None = None
    finetune: dict[str, Any] = Field(
        default_factory=dict, description="finetuning settings of this task, over the zoo's"
    )

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("letters, digits, '.', '_' and '-' only, at most 64, beginning with a letter or digit")
        return name


class ZooBase(_Part):
    """`architecture` makes a file of weights alone a model of open_clip: `{model: zeroshot.pt, architecture: NAME}`."""

    model: str
    kind: Literal["auto", "transformers", "open_clip"] = "auto"
    architecture: str | None = Field(
        None,
        description="open_clip's name of a model (`open_clip.list_models()`), whose config then counts, with the image "
        "transform of OpenAI's CLIP; OpenAI's weights, and what was finetuned from them, need the names with -quickgelu, as "
        "ViT-B-32-quickgelu",
    )

    @model_validator(mode="before")
    @classmethod
    def _an_architecture_is_open_clips(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("architecture") is not None:
            kind = content.get("kind", "auto")
            if kind == "transformers":
                raise ValueError("`architecture` is a name of open_clip's, and `kind` is transformers: leave one out")
            return content | ({"kind": "open_clip"} if kind == "auto" else {})
        return content


class Zoo(_Part):
    """A validated zoo. After `load_zoo`, every local path in it is absolute."""

    name: str
    description: str | None = None
    base: ZooBase
    tasks: tuple[ZooTask, ...] = Field(min_length=1)
    family: Family = Field("vision", description="whose settings of the paper the preset `paper` means")
    part: Literal["auto", "block", "mlp"] = Field(
        "auto",
        description="what is merged on anchors: whole blocks, or their MLPs alone; auto: MLPs for the family llama",
    )
    adapt: dict[str, Any] = Field(default_factory=dict, description="adaptation settings that suit these models")
    finetune: dict[str, Any] = Field(
        default_factory=dict, description="finetuning settings for `zoo finetune`, over the family's"
    )
    cited: str | None = Field(None, description="key of assets/cited.yaml: what others report for these models")

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        return ZooTask._name_is_a_file_name(name)

    @model_validator(mode="after")
    def _task_names_differ(self) -> "Zoo":
        names = [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tasks are called {twice[0]!r}: give each its own name")
        return self

    def task(self, name: str) -> ZooTask:
        return next(task for task in self.tasks if task.name == name)

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)


_AnyZoo = TypeVar("_AnyZoo", bound=Zoo)


class UntrainedTask(ZooTask):
    """A task that may have no model yet: its `model` is then empty."""

    model: str = ""


class UntrainedZoo(Zoo):
    """A zoo some of whose tasks have data and no model yet: what `zoo finetune` takes."""

    tasks: tuple[UntrainedTask, ...] = Field(min_length=1)  # pyright: ignore[reportIncompatibleVariableOverride]


def brings_head(zoo: Zoo, task: ZooTask) -> bool:
    """Whether a task names a head, or its checkpoint may have one, as those of transformers do. Opens no checkpoint."""
    if task.head is not None:
        return True
    models = (task.model, zoo.base.model)  # an adapter's config is the base's
    return zoo.base.kind != "open_clip" and any(_has_config(model) for model in models)


def _has_config(model: str) -> bool:
    """Whether the model has a transformers config; assumed for a hub id that is not downloaded yet."""
    if is_hub_id(model):
        folder = snapshot_folder(model)
        return folder is None or (folder / "config.json").is_file()
    return (Path(model) / "config.json").is_file()


def list_zoos() -> dict[str, Path]:
    """Return the shipped zoos: name (file stem) → file."""
    return {path.stem: path for path in sorted(PRESET_ZOOS.glob("*.yaml"))}


def listed_zoos() -> dict[str, "Zoo | UserError"]:
    """Return every named zoo, shipped ones first: name → the zoo, or the error of its file."""
    shipped = list_zoos()
    own_paths = {name: path for name, path in own_zoos().items() if name not in shipped}
    return {name: zoo_or_problem(path) for name, path in (shipped | own_paths).items()}


def zoo_or_problem(path: Path) -> "Zoo | UserError":
    """Return the zoo in a file, or its error as a UserError; raises nothing, so that one bad file does not hide the others."""
    try:
        return load_zoo(path)
    except UserError as error:
        return error
    except Exception as error:
        return UserError(f"{path} could not be read ({type(error).__name__}): correct it, or delete it.")


def own_folder() -> Path:
    """Return the folder of the user's named zoos: FDA_HOME/zoos."""
    return fda_home() / "zoos"


def own_zoos() -> dict[str, Path]:
    """Return the user's named zoos: name (file stem) → file."""
    files = sorted(own_folder().glob("*.yaml"))
    return {path.stem: path for path in files if NAME.fullmatch(path.stem) and os.path.isfile(path)}


def zoo_path(reference: str | Path, roots: list[Path] | None = None) -> Path:
    """Return the file of a zoo, given its name or path; shipped names take precedence. UserError if it does not exist.

    `roots`: as in `load_zoo`.
    """
    shipped = list_zoos()
    named = own_zoos() | shipped
    path = named.get(str(reference)) or absolute(reference)
    if roots is not None:  # before checking existence; pages write the user's own zoos
        require_readable(path, [*roots, own_folder()], written=reference)
    if str(reference) in named:
        return path
    if os.path.isdir(path):
        return zoo_path(zoo_file_in(path, reference), roots)  # it may be a link
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        raise UserError(
            f"{reference} is neither a zoo file nor a shipped zoo ({', '.join(shipped)}): "
            "check the path, or run `python -m fda zoo list`."
        )
    return path


def load_zoo(reference: str | Path, *, roots: list[Path] | None = None) -> Zoo:
    """Read, validate and resolve a zoo file.

    `roots`: when given (pages do), the zoo file and every local path it names must lie below one of them.
    Raises UserError that names the file, the field and what would be right.
    """
    path = zoo_path(reference, roots)
    return resolved(read_zoo_file(path), path.parent, roots)


def read_zoo_file(path: Path) -> Zoo:
    """Read and validate a zoo file, without resolving its paths. UserError with the file and the field."""
    return _zoo(_text(path), path)


@lru_cache(maxsize=32)  # pages read the same few files again and again
def _zoo(text: str, path: Path) -> Zoo:
    content = read_yaml(text, str(path))
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds no fields: a zoo needs `name`, `base` and `tasks`, as assets/zoos/demo.yaml has."
        )
    return validated(content, str(path))


def load_untrained(reference: str | Path) -> UntrainedZoo:
    """Read, validate and resolve a zoo file whose tasks may lack a model. UserError as `load_zoo`."""
    path = zoo_path(reference)
    content = read_yaml(_text(path), str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no fields: a zoo needs `name`, `base` and `tasks`.")
    return resolved(validated(content, str(path), UntrainedZoo), path.parent)


def validated(content: Mapping[str, Any], what: str, kind: type[_AnyZoo] = Zoo) -> _AnyZoo:
    """Validate the fields of a zoo. UserError that begins with `what` and names a field that is wrong or has no effect."""
    try:
        zoo = kind.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{what}: {_first_problem(error, content)}") from None
    if unused := unused_key(content):
        raise UserError(f"{what}: {unused}.")
    return zoo


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES // 10**6} MB: give a zoo file, which is a short text.")
        return content.decode("utf-8-sig")
    except ValueError:  # not UTF-8
        raise UserError(f"{path} is not YAML: correct it, or start from assets/zoos/demo.yaml.") from None
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}): check its permissions.") from None


def _first_problem(error: ValidationError, content: Mapping[str, Any]) -> str:
    """The first validation error as one sentence with the field's place in the file."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"] if part not in ("ZeroShotHead", "str"))
    if problem["type"] == "missing" and field.startswith("tasks.") and field.endswith(".model"):
        return f"the field `{field}` is missing: add it, or train the task with `python -m fda zoo finetune`."
    if problem["type"] == "missing":
        return f"the field `{field}` is missing: add it (assets/zoos/demo.yaml shows every field)."
    if problem["type"] == "extra_forbidden":
        return f"the field `{field}` is not one a zoo has: check its spelling against assets/zoos/demo.yaml."
    message = problem["msg"].removeprefix("Value error, ")
    at = f"the field `{field}` is wrong: " if field else ""
    return f"{at}{message[0].lower() + message[1:]}."


def resolved(zoo: _AnyZoo, folder: Path, roots: list[Path] | None = None) -> _AnyZoo:
    """Return the zoo with local paths absolute, relative to `folder`. UserError for missing files or files outside `roots`."""

    def local(value: str, field: str, *, is_id: Callable[[str], bool] | None = None) -> str:
        path = absolute(value, folder)
        if is_id is not None and is_id(value) and not os.path.exists(path):  # an existing path takes precedence
            if roots is not None and os.path.exists(value):  # `datasets` would load a folder of that name
                require_readable(value, roots)
            return value
        if roots is not None:
            require_readable(path, roots, written=value)
            _require_no_way_out(path, roots)
        if not os.path.exists(path):
            raise UserError(
                f"{field}: {value} does not exist beside the zoo file (looked for {path}): correct the path"
                + (", or give a hub id, which has the form org/name" if is_id is not None else "")
                + ("; a name of open_clip's goes into base.architecture." if field == "base.model" else ".")
            )
        return str(path)

    tasks = []
    for index, task in enumerate(zoo.tasks):
        at = f"tasks.{index} ({task.name})"
        head = local(task.head, f"{at}.head") if isinstance(task.head, str) else task.head
        data = task.data
        if data is not None:
            path = local(data.path, f"{at}.data.path", is_id=is_hub_id)
            if os.path.isfile(path):  # keep a link's name: its suffix gives the format
                path = str(absolute(Path(data.path).parent, folder) / Path(data.path).name)
                if data.name is not None:
                    raise UserError(
                        f"{at}.data.name: {data.path} is a file, which has no configurations: leave it out."
                    )
            data = data.model_copy(update={"path": path})
        model = local(task.model, f"{at}.model", is_id=is_hub_id) if task.model else ""
        tasks.append(task.model_copy(update={"model": model, "head": head, "data": data}))
    base = zoo.base.model_copy(update={"model": local(zoo.base.model, "base.model", is_id=is_hub_id)})
    return zoo.model_copy(update={"base": base, "tasks": tuple(tasks)})


def _require_no_way_out(folder: Path, roots: list[Path]) -> None:
    """Refuse a folder with a link that leads out of the roots; links of the hub's cache stay inside it.

    For an index or a config, which names files beside it, checks the folder that contains it.
    """
    if folder.suffix == ".json":
        folder = folder.parent
    if not folder.is_dir():
        return
    walked: set[str] = set()
    for inside, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(inside)
        if real in walked:  # links in a circle
            folders.clear()
            continue
        walked.add(real)
        for name in (*folders, *files):
            path = Path(inside) / name
            if path.is_symlink():
                require_readable(path, roots, written=path)
