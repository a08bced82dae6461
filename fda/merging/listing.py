"""Writes docs/methods.md from the registry: `python -m fda.merging.listing > docs/methods.md`. A test compares the two."""

from collections.abc import Iterable

from fda.merging.method import Hyperparameter
from fda.merging.registry import METHODS, MODIFIERS

INTRODUCTION = """# Merging methods

Every comparison has the rows `pretrained` and `individual`. Hyperparameters have the authors' fixed values or those of the
zoo file, unless you set them (`--set METHOD.NAME=VALUE`) or sweep a coefficient on the validation split (`--sweep`, which
adds a row `METHOD:swept`). None is chosen on the test split, and each row states its values. `python -m fda methods NAME`
explains every hyperparameter of a method.

Beside the checkpoints a method needs nothing, `inputs` (unlabelled samples), `labels` (labelled samples), or `anchors` (of
a finished run). `--adapt NAME=VALUE` changes how FDA and distillation adapt. `compare` runs the group `main` by default;
`data-free` and `all` select the methods of those groups that can run on the zoo.

A modifier goes on top of any method that needs nothing but `pretrained`: `larv:tsv` is LARV on TSV-M, and has the settings
of both (`--set larv:tsv.spread=0.3`). Modifiers go on one another (`svc:larv:tsv`), FDA starts from any such method
(`fda:larv:tsv`, `fda:dc_merge`), and `larv:tsv:swept` is swept. Such rows are made when `--methods` names them.

This page is generated from the registry: `python -m fda.merging.listing > docs/methods.md`.
"""


def document() -> str:
    """The whole of docs/methods.md."""
    return f"{INTRODUCTION}\n{methods_table()}\n\n## Modifiers\n\n{modifiers_table()}\n"


def methods_table() -> str:
    """A Markdown table, one row a method: name, idea, hyperparameters with their defaults, sweep, needs."""
    lines = ["| method | idea | hyperparameters | swept over | needs |", "|---|---|---|---|---|"]
    for method in (method for method in METHODS.values() if not method.swept):
        title = f"[{method.title}]({method.paper})" if method.paper else method.title
        hypers = _defaults(method.hyperparameters)
        swept = "–"
        if method.coefficient is not None:
            values = method.coefficient.sweep
            swept = f"{method.coefficient.name} {values[0]:g} … {values[-1]:g}"
        lines.append(f"| `{method.name}` {title} | {method.idea} | {hypers or '–'} | {swept} | {method.needs} |")
    return "\n".join(lines)


def modifiers_table() -> str:
    """A Markdown table, one row a modifier: name, idea, its own hyperparameters with their defaults, a sweep's fate."""
    lines = ["| modifier | idea | hyperparameters | can be swept |", "|---|---|---|---|"]
    for one in MODIFIERS.values():
        swept = "as the method under it" if one.linear else "no"
        title = f"[{one.title}]({one.paper})"
        lines.append(f"| `{one.name}:` {title} | {one.idea} | {_defaults(one.hyperparameters)} | {swept} |")
    return "\n".join(lines)


def _defaults(hyperparameters: Iterable[Hyperparameter]) -> str:
    return ", ".join(
        f"{hyper.name} {hyper.default:g}"
        if isinstance(hyper.default, float)
        else f"{hyper.name} {hyper.default}".strip()
        for hyper in hyperparameters
    )


if __name__ == "__main__":
    print(document(), end="")
