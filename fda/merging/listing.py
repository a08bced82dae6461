"""The registry as the Markdown table that the README shows; a test holds the two together."""

from fda.merging.registry import METHODS


def methods_table() -> str:
    """One row a method: name, idea, hyperparameters with their defaults, what it needs beside the checkpoints."""
    lines = ["| method | idea | hyperparameters | needs |", "|---|---|---|---|"]
    for method in METHODS.values():
        title = f"[{method.title}]({method.paper})" if method.paper else method.title
        hypers = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                           for name, value in method.defaults.items())  # fmt: skip
        lines.append(f"| `{method.name}` {title} | {method.idea} | {hypers or '–'} | {method.needs} |")
    return "\n".join(lines)
