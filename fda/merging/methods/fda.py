"""FDA as merging methods, one for each start: the model that is adapted on the anchors. `fda.anchors.adapt` does the work."""

from fda.merging.method import WEIGHT_STARTS, Method

PREFIX = "fda"
STARTS = {
    "pretrained": "Pretrained",
    "ta": "TA",
    "ties": "TIES",
    "tsv": "TSV",
    "wudi": "WUDI",
    "iso_c": "Iso-C",
    "iso_cts": "Iso-CTS",
    "swudi": "SWUDI",
    "sum": "the sum of task vectors",
}


def fda_from(start: str, title: str, *, tasks: int | None = None, least_tasks: int = 1) -> Method:
    """FDA from the merge called `start`; `tasks` and `least_tasks` are the start's."""
    return Method(
        name=f"{PREFIX}:{start}",
        title=f"FDA ({title})",
        idea=(
            "Adapt the pretrained blocks on the anchors."
            if start == "pretrained"
            else f"Adapt the blocks of {title} on the anchors, all their weights."
            if start in WEIGHT_STARTS
            else f"Adapt element-wise coefficients of the task vectors of {title} on the anchors."
        ),
        paper="https://arxiv.org/abs/2510.21223",
        year=2025,
        needs="anchors",
        start=start,
        tasks=tasks,
        least_tasks=least_tasks,
    )


FDA_METHODS = tuple(fda_from(start, title) for start, title in STARTS.items())
