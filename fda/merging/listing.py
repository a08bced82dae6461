"""Writes docs/methods.md from the registry: `python -m fda.merging.listing > docs/methods.md`. A test compares the two."""

from fda.merging.registry import METHODS

INTRODUCTION = """# Merging methods

Every comparison has the rows `pretrained` and `individual`. Hyperparameters have the authors' fixed values or those of the
zoo file, unless you set them (`--set METHOD.NAME=VALUE`) or sweep a coefficient on the validation split (`--sweep`, which
adds a row `METHOD:swept`). None is chosen on the test split, and each row states its values. `python -m fda methods NAME`
explains every hyperparameter of a method.

Beside the checkpoints a method needs nothing, `inputs` (unlabelled samples), `labels` (labelled samples), or `anchors` (of
a finished run). `--adapt NAME=VALUE` changes how FDA and distillation adapt. `compare` runs the group `main` by default;
`data-free` and `all` select the methods of those groups that can run on the zoo.

This page is generated from the registry: `python -m fda.merging.listing > docs/methods.md`.
"""


def document() -> str:
    """The whole of docs/methods.md."""
    return f"{INTRODUCTION}\n{methods_table()}\n"


def methods_table() -> str:
    """A Markdown table, one row a method: name, idea, hyperparameters with their defaults, sweep, needs."""
    lines = ["| method | idea | hyperparameters | swept over | needs |", "|---|---|---|---|---|"]
    for method in (method for method in METHODS.values() if not method.swept):
        title = f"[{method.title}]({method.paper})" if method.paper else method.title
        hypers = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                           for name, value in method.defaults.items())  # fmt: skip
        swept = "–"
        if method.coefficient is not None:
            values = method.coefficient.sweep
            swept = f"{method.coefficient.name} {values[0]:g} … {values[-1]:g}"
        lines.append(f"| `{method.name}` {title} | {method.idea} | {hypers or '–'} | {swept} | {method.needs} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document(), end="")
