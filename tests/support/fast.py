"""Which test files are fast: a rule that reads what they import, so that no list has to be kept.

A file is slow if it, or a module of `tests` that it imports, starts processes, drives a page or a browser, carries out
runs, or needs a library of models. Only the text is read: telling that a file is slow imports nothing.
"""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

SLOW_MODULES = (
    # processes and pages
    *("subprocess", "multiprocessing", "playwright", "streamlit", "typer.testing", "fda.bench", "fda.processes"),
    # whole runs
    *("fda.stages", "fda.anchors.construct"),
    # libraries of models and data
    *("datasets", "open_clip", "peft", "transformers", "fda.zoos.survey", "tests.support.tiny_zoo"),
)
SLOW_FIXTURES = {"server", "tiny_zoo", "visit"}


@cache
def is_fast(file: Path) -> bool:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    if SLOW_FIXTURES & {node.arg for node in nodes if isinstance(node, ast.arg)}:
        return False
    modules = set(_imported(nodes))
    if any(module == slow or module.startswith(f"{slow}.") for module in modules for slow in SLOW_MODULES):
        return False
    return all(is_fast(helper) for module in modules if module.startswith("tests.") and (helper := _file(module)))


def _imported(nodes: list[ast.AST]) -> list[str]:
    """Every module that these nodes of a file import; of `from a import b` both a and a.b, which may be a module."""
    modules = []
    for node in nodes:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return modules


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.exists() else None
