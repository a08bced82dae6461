"""All merging methods by name, in the order of tables. A new method is one file in `methods` and one line here.

Names can be put together, read from right to left: `larv:tsv` is the modifier LARV on TSV-M, `fda:larv:tsv` is FDA from there,
and `larv:tsv:swept` has its coefficient chosen. `mix:NAME` is a mix by hand. Such a method is made when it is asked for, so
lists do not show it.
"""

import difflib
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from typing import Any

from fda.errors import UserError
from fda.merging.method import SWEPT, Method
from fda.merging.methods.actmat import actmat, tact
from fda.merging.methods.adamerging import adamerging, adamerging_layer
from fda.merging.methods.anchored_ridge import anchored_ridge, ridge_towards
from fda.merging.methods.average import average
from fda.merging.methods.breadcrumbs import breadcrumbs
from fda.merging.methods.consensus_ta import consensus_ta
from fda.merging.methods.dare import dare
from fda.merging.methods.dare_ties import dare_ties
from fda.merging.methods.dc_merge import dc_merge
from fda.merging.methods.della import della
from fda.merging.methods.distill import distill
from fda.merging.methods.fda import FDA_METHODS, PREFIX, fda_from
from fda.merging.methods.fisher import fisher
from fda.merging.methods.iso_c import iso_c
from fda.merging.methods.iso_cts import iso_cts
from fda.merging.methods.larv import larv
from fda.merging.methods.magmax import magmax
from fda.merging.methods.mix import is_mix, mix_named
from fda.merging.methods.model_stock import model_stock
from fda.merging.methods.optmerge import optmerge
from fda.merging.methods.polarised import polarised
from fda.merging.methods.references import individual, pretrained
from fda.merging.methods.regmean import regmean, regmean_anchors
from fda.merging.methods.regmean_plusplus import regmean_plusplus
from fda.merging.methods.slerp import slerp
from fda.merging.methods.sum import task_vector_sum
from fda.merging.methods.svc import svc
from fda.merging.methods.swudi import swudi, swudi_a
from fda.merging.methods.ta import ta
from fda.merging.methods.ties import ties
from fda.merging.methods.tsv import tsv
from fda.merging.methods.wudi import wudi
from fda.merging.modifier import Modifier

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
    task_vector_sum,
    ties,
    consensus_ta,
    della,
    magmax,
    model_stock,
    slerp,
    iso_c,
    iso_cts,
    optmerge,
    tsv,
    wudi,
    actmat,
    anchored_ridge,
    dc_merge,
    swudi,
    swudi_a,
    tact,
    fisher,
    regmean,
    adamerging,
    adamerging_layer,
    distill,
    regmean_plusplus,
    regmean_anchors,
    *FDA_METHODS,
)


MODIFIERS: dict[str, Modifier] = {one.name: one for one in (larv, polarised, svc, ridge_towards)}


class Registry(dict[str, Method]):
    """The listed methods, in their order. A name that is put together is found too, but not listed."""

    def __missing__(self, name: str) -> Method:
        try:
            return composed(name)
        except UserError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return self.get(name) is not None

    def get(self, name: Any, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


def _by_name(methods: tuple[Method, ...]) -> Registry:
    """Each method under its name, followed by its swept variant if it has a coefficient."""
    by_name = Registry()
    for method in methods:
        by_name[method.name] = method
        if method.coefficient is not None:
            by_name[method.as_swept.name] = method.as_swept
    return by_name


METHODS = _by_name(IN_ORDER)


@lru_cache(maxsize=1024)
def composed(name: str) -> Method:
    """The method that a name put together means. KeyError for another name; UserError if the parts do not fit."""
    if is_mix(name):
        return mix_named(name.partition(":")[2])
    *heads, last = name.removesuffix(SWEPT).split(":")
    if not heads or heads[0] not in (PREFIX, *MODIFIERS):
        raise KeyError(name)
    ((most, times),) = Counter(heads).most_common(1)
    if times > 1:
        raise UserError(f"a method's name has {most} {times} times: give it once.")
    under = method(":".join([*heads[1:], last]))
    if under.merge is None or under.needs != "nothing" or under.swept or under is pretrained:
        raise UserError(f"{heads[0]} goes on a method that merges checkpoints without data, which {under.name} is not.")
    if heads[0] == PREFIX:
        made = fda_from(under.name, under.title, tasks=under.tasks, least_tasks=under.least_tasks)
    else:
        made = MODIFIERS[heads[0]].on(under)
    if name == made.name:
        return made
    if made.coefficient is None:
        raise UserError(f"{made.name} has no coefficient to sweep: leave {SWEPT} out.")
    return made.as_swept


def rank(name: str) -> float:
    """Where a method stands in tables: as listed; one that is put together after the plain one; an unknown one last."""
    order = list(METHODS)
    if name in order or name not in METHODS:
        return order.index(name) if name in order else len(order)
    *heads, last = name.split(":")
    plain = [PREFIX] if heads[0] == PREFIX else []
    listed = [":".join(parts) for parts in ([*plain, heads[-1], last], [*plain, last]) if ":".join(parts) in order]
    return order.index(listed[0] if listed else FDA_METHODS[-1].name) + 0.5


def method(name: str) -> Method:
    """The method called `name`; a UserError that suggests the nearest name if there is none."""
    if dict.__contains__(METHODS, name):
        return METHODS[name]
    with suppress(KeyError):
        return composed(name)
    matches = difflib.get_close_matches(name.lower().replace("-", "_"), METHODS, n=1)
    hint = f" (did you mean {matches[0]}?)" if matches else ""
    raise UserError(f"there is no merging method {name!r}{hint}: choose among {', '.join(METHODS)}.")
