"""Three text tasks of real text that every environment of ours has: the sources of installed scientific packages.

What a text is and which class it has is known from how the source is parsed, so nobody had to label anything. A source file
belongs to one split, the same for all tasks, and no text occurs twice in a task, so test texts were never trained on. Writes
nothing; training is in `language_zoo.py`.
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

PACKAGES = ("networkx", "scipy", "skimage", "sklearn", "sympy")  # pinned, or needed by what is pinned
FILES = 200  # of each package, drawn by the hash of their paths: the whole of sympy takes a minute to parse
SPLITS: Mapping[str, range] = {"train": range(0, 6), "validation": range(6, 7), "test": range(7, 10)}
LONGEST, SHORTEST = 160, 16  # characters of a text: at most about 40 word pieces
ROLES = ("code", "comment", "docstring", "error")
PAIRS = ("apart", "together")


@dataclass(frozen=True)
class TextTask:
    """`columns`: those of a row but its label, which is a place in `classes`."""

    name: str
    title: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    rows: "Callable[[], Iterator[Row]]"


@dataclass(frozen=True)
class Row:
    """One sample and the file that it was read from, such as scipy/stats/_qmc.py."""

    texts: tuple[str, ...]
    label: int
    source: str


@dataclass(frozen=True)
class Source:
    """What is read from one file. `documented`: (name of a function or class in words, its docstring's first sentence)."""

    package: str
    path: str
    documented: tuple[tuple[str, str], ...]
    comments: tuple[str, ...]
    errors: tuple[str, ...]
    code: tuple[str, ...]


def split_of(source: str) -> str:
    """The split that a file belongs to, by the hash of its path."""
    place = int(sha256(source.encode()).hexdigest(), 16) % 10
    return next(name for name, places in SPLITS.items() if place in places)


def samples(task: TextTask, split: str, count: int, *, seed: int = 0) -> list[Row]:
    """`count` rows of a split, as many of each class as can be. UserError if a class has too few."""
    classes: dict[int, list[Row]] = {label: [] for label in range(len(task.classes))}
    seen: set[tuple[str, ...]] = set()
    for row in task.rows():
        if row.texts not in seen:  # the first file that has a text keeps it, whatever its split
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
    """What all files have, in one order on every machine with these versions. UserError if a package is missing."""
    return tuple(_read(package, root, file) for package in PACKAGES for root, file in _files(package))


def _files(package: str) -> list[tuple[Path, Path]]:
    """(the folder that has the package, a file of it): files drawn by hash, without tests."""
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
            said = node.exc.args[0]
            if isinstance(said, ast.Constant) and isinstance(said.value, str) and _fits(" ".join(said.value.split())):
                errors.append(" ".join(said.value.split()))
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    comments = [one.string.lstrip("#: ").strip() for one in tokens if one.type == tokenize.COMMENT]
    starts = {node.lineno for node in nodes if isinstance(node, ast.Assign | ast.Return | ast.AugAssign)}
    lines = text.splitlines()
    code = [lines[number - 1].split("#")[0].strip() for number in sorted(starts)]
    name = file.relative_to(root).as_posix()
    kept = (tuple(one for one in found if _fits(one)) for found in (comments, errors, code))
    return Source(package, name, tuple(documented), *kept)


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", paragraph)[0]


def _fits(text: str) -> bool:
    return SHORTEST <= len(text) <= LONGEST


def _packages() -> Iterator[Row]:
    for one in sources():
        for _, sentence in one.documented:
            yield Row((sentence,), PACKAGES.index(one.package), one.path)


def _roles() -> Iterator[Row]:
    for one in sources():
        found = (one.code, one.comments, tuple(sentence for _, sentence in one.documented), one.errors)
        for label, texts in enumerate(found):
            yield from (Row((text,), label, one.path) for text in texts)


def _pairs() -> Iterator[Row]:
    """Every second sentence of a file has its own name beside it, the others that of their neighbour in the file."""
    for one in sources():
        for place, (name, sentence) in enumerate(one.documented):
            together = int(sha256(sentence.encode()).hexdigest(), 16) % 2
            other = one.documented[(place + 1) % len(one.documented)]
            if together or (other[0] != name and other[1] != sentence):
                yield Row((name if together else other[0], sentence), together, one.path)


TASKS = (
    TextTask("package", "Whose docstring", ("text",), PACKAGES, _packages),
    TextTask("role", "Code, comment, docstring or error", ("text",), ROLES, _roles),
    TextTask("pair", "Name and docstring belong together", ("name", "text"), PAIRS, _pairs),
)
