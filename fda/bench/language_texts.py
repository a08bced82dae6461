"""Three text classification tasks from real text: the source code of installed scientific packages.

Parsing the source yields texts with their labels. Each source file belongs to one split, the same for all tasks, and no text
occurs twice in a task, so no test text is trained on. Writes no file; `language_zoo.py` trains.
"""

import ast
import importlib.util
import io
import random
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fda.errors import UserError

PACKAGES = ("networkx", "scipy", "skimage", "sklearn", "sympy")  # pinned, or dependencies of pinned packages
FILES = 200  # of each package, selected by path hash, since parsing all of sympy takes a minute
SPLITS: Mapping[str, range] = {"train": range(0, 6), "validation": range(6, 7), "test": range(7, 10)}
LONGEST, SHORTEST = 160, 16  # characters of a text; 160 are about 40 word pieces
ROLES = ("code", "comment", "docstring", "error")
PAIRS = ("apart", "together")


@dataclass(frozen=True)
class TextTask:
    """`columns`: names of a row's texts. A row's label is an index into `classes`."""

    name: str
    title: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    rows: "Callable[[], Iterator[Row]]"


@dataclass(frozen=True)
class Row:
    """One sample and its source file, such as scipy/stats/_qmc.py."""

    texts: tuple[str, ...]
    label: int
    source: str


@dataclass(frozen=True)
class Source:
    """The texts of one file. `documented`: (name of a function or class as words, first sentence of its docstring)."""

    package: str
    path: str
    documented: tuple[tuple[str, str], ...]
    comments: tuple[str, ...]
    errors: tuple[str, ...]
    code: tuple[str, ...]


def split_of(source: str) -> str:
    """The split of a file, chosen by the hash of its path."""
    bucket = int(sha256(source.encode()).hexdigest(), 16) % 10
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def samples(task: TextTask, split: str, count: int, *, seed: int = 0) -> list[Row]:
    """`count` rows of a split, spread evenly over the classes. UserError if a class has too few."""
    classes: dict[int, list[Row]] = {label: [] for label in range(len(task.classes))}
    seen: set[tuple[str, ...]] = set()
    for row in task.rows():
        if row.texts not in seen:  # a repeated text belongs to the first file that has it
            seen.add(row.texts)
            if split_of(row.source) == split:
                classes[row.label].append(row)
    chosen, draw = [], random.Random(f"{seed} {task.name} {split}")
    for label, rows in classes.items():
        wanted = count // len(classes) + (label < count % len(classes))
        if len(rows) < wanted:
            raise UserError(
                f"the installed packages have {len(rows)} texts of class {task.classes[label]} for task {task.name}, split "
                f"{split}, and {wanted} are wanted: install what requirements.txt names, or ask for fewer."
            )
        chosen += draw.sample(rows, wanted)
    draw.shuffle(chosen)
    return chosen


@cache
def sources() -> tuple[Source, ...]:
    """The texts of all files; for the same versions the same on every machine. UserError if a package is missing."""
    return tuple(_read(package, root, file) for package in PACKAGES for root, file in _files(package))


def _files(package: str) -> list[tuple[Path, Path]]:
    """(folder that contains the package, a file of the package) for FILES files selected by hash, without tests."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {package} is not installed: `make` installs what requirements.txt names.")
    folder = Path(spec.origin).parent
    names = [file.relative_to(folder.parent) for file in folder.rglob("*.py")]
    names = [name for name in names if not {"tests", "externals", "_build_utils"} & set(name.parts)]
    names.sort(key=lambda name: sha256(name.as_posix().encode()).hexdigest())
    return [(folder.parent, folder.parent / name) for name in names[:FILES]]


def _read(package: str, root: Path, file: Path) -> Source:
    text = file.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    documented, errors = [], []
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", node.name).strip().lower()
            sentence = _first_sentence(ast.get_docstring(node) or "")
            if _fits(sentence) and name:
                documented.append((name, sentence))
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            message = node.exc.args[0]
            if isinstance(message, ast.Constant) and isinstance(message.value, str):
                errors.append(" ".join(message.value.split()))
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    comments = [token.string.lstrip("#: ").strip() for token in tokens if token.type == tokenize.COMMENT]
    starts = {node.lineno for node in nodes if isinstance(node, ast.Assign | ast.Return | ast.AugAssign)}
    lines = text.splitlines()
    code = [lines[number - 1].split("#")[0].strip() for number in sorted(starts)]
    name = file.relative_to(root).as_posix()
    kept = (tuple(line for line in texts if _fits(line)) for texts in (comments, errors, code))
    return Source(package, name, tuple(documented), *kept)


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", paragraph)[0]


def _fits(text: str) -> bool:
    return SHORTEST <= len(text) <= LONGEST


def _packages() -> Iterator[Row]:
    for source in sources():
        for _, sentence in source.documented:
            yield Row((sentence,), PACKAGES.index(source.package), source.path)


def _roles() -> Iterator[Row]:
    for source in sources():
        sentences = tuple(sentence for _, sentence in source.documented)
        for label, texts in enumerate((source.code, source.comments, sentences, source.errors)):
            yield from (Row((text,), label, source.path) for text in texts)


def _pairs() -> Iterator[Row]:
    """About half of the sentences are paired with their own name, the others with the name of the next one in the file."""
    for source in sources():
        for index, (name, sentence) in enumerate(source.documented):
            together = int(sha256(sentence.encode()).hexdigest(), 16) % 2
            next_name, next_sentence = source.documented[(index + 1) % len(source.documented)]
            if together or (next_name != name and next_sentence != sentence):
                yield Row((name if together else next_name, sentence), together, source.path)


TASKS = (
    TextTask("package", "Whose docstring", ("text",), PACKAGES, _packages),
    TextTask("role", "Code, comment, docstring or error", ("text",), ROLES, _roles),
    TextTask("pair", "Name and docstring belong together", ("name", "text"), PAIRS, _pairs),
)
