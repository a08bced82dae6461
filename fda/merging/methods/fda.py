"""FDA as merging methods, one for each start: the model that is adapted on the anchors. `fda.anchors.adapt` does the work."""

from fda.merging.method import Method

STARTS = {
    "pretrained": "Pretrained",
    "ta": "TA",
    "ties": "TIES",
    "tsv": "TSV",
    "wudi": "WUDI",
    "iso_c": "Iso-C",
    "iso_cts": "Iso-CTS",
}

FDA_METHODS = tuple(
    Method(
        name=f"fda:{start}",
        title=f"FDA ({title})",
        idea=(
            "Adapt the pretrained blocks on the anchors."
            if start == "pretrained"
            else f"Adapt element-wise coefficients of the task vectors of {title} on the anchors."
        ),
        paper="https://arxiv.org/abs/2510.21223",
        year=2025,
        needs="anchors",
        start=start,
    )
    for start, title in STARTS.items()
)
