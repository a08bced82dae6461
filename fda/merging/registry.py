"""All merging methods by name, in the order of tables. A new method is one file in `methods` and one line here."""

import difflib

from fda.errors import UserError
from fda.merging.method import Method
from fda.merging.methods.adamerging import adamerging, adamerging_layer
from fda.merging.methods.average import average
from fda.merging.methods.breadcrumbs import breadcrumbs
from fda.merging.methods.consensus_ta import consensus_ta
from fda.merging.methods.dare import dare
from fda.merging.methods.dare_ties import dare_ties
from fda.merging.methods.della import della
from fda.merging.methods.distill import distill
from fda.merging.methods.fda import FDA_METHODS
from fda.merging.methods.fisher import fisher
from fda.merging.methods.iso_c import iso_c
from fda.merging.methods.iso_cts import iso_cts
from fda.merging.methods.magmax import magmax
from fda.merging.methods.model_stock import model_stock
from fda.merging.methods.references import individual, pretrained
from fda.merging.methods.regmean import regmean, regmean_anchors
from fda.merging.methods.slerp import slerp
from fda.merging.methods.ta import ta
from fda.merging.methods.ties import ties
from fda.merging.methods.tsv import tsv
from fda.merging.methods.wudi import wudi

# The default of `compare`. Each of these methods but `individual` writes a merged file.
MAIN_METHODS = ("pretrained", "individual", "average", "ta", "tsv", "fda:pretrained", "fda:ta", "fda:tsv")
# Methods that need only checkpoints, then those that need inputs, then those that need anchors; by year within each group.
IN_ORDER: tuple[Method, ...] = (
    pretrained,
    individual,
    average,
    breadcrumbs,
    dare,
    dare_ties,
    ta,
    ties,
    consensus_ta,
    della,
    magmax,
    model_stock,
    slerp,
    iso_c,
    iso_cts,
    tsv,
    wudi,
    fisher,
    regmean,
    adamerging,
    adamerging_layer,
    distill,
    regmean_anchors,
    *FDA_METHODS,
)


def _by_name(methods: tuple[Method, ...]) -> dict[str, Method]:
    """Each method under its name, followed by its swept variant if it has a coefficient."""
    by_name = {}
    for method in methods:
        by_name[method.name] = method
        if method.coefficient is not None:
            by_name[method.as_swept.name] = method.as_swept
    return by_name


METHODS: dict[str, Method] = _by_name(IN_ORDER)


def method(name: str) -> Method:
    """The method called `name`; a UserError that suggests the nearest name if there is none."""
    if name in METHODS:
        return METHODS[name]
    matches = difflib.get_close_matches(name.lower().replace("-", "_"), METHODS, n=1)
    hint = f" (did you mean {matches[0]}?)" if matches else ""
    raise UserError(f"there is no merging method {name!r}{hint}: choose among {', '.join(METHODS)}.")
