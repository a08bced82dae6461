"""The registry as docs/methods.md: `python -m fda.merging.listing > docs/methods.md` writes it, a test compares the two."""

from fda.merging.registry import METHODS

INTRODUCTION = """# Merging methods

Every comparison has the rows `pretrained` and `individual`. Hyperparameters are the authors' fixed values or those of the
zoo file, unless you set them (`--set METHOD.NAME=VALUE`) or sweep a coefficient on the validation split (`--sweep`, which
adds a row `METHOD:swept`). None is chosen on the test split, and each row says what it used. `python -m fda methods NAME`
explains every hyperparameter of a method.

What a method needs beside the checkpoints: nothing; `inputs`, unlabelled samples; `labels`, labelled ones; or `anchors` of
a finished run. `--adapt NAME=VALUE` changes how FDA and distillation adapt. The group `main` is what `compare` takes by
itself; `data-free` and `all` name the methods of those groups that can run on the zoo.

This page is made from the registry: `python -m fda.merging.listing > docs/methods.md`.
"""


def document() -> str:
    """The whole of docs/methods.md."""
    return f"{INTRODUCTION}\n{methods_table()}\n"


def methods_table() -> str:
    """One row a method: name, idea, hyperparameters with their defaults, what it needs beside the checkpoints."""
    lines = ["| method | idea | hyperparameters | swept over | needs |", "|---|---|---|---|---|"]
    for method in (one for one in METHODS.values() if not one.swept):
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
