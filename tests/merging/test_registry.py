"""The registry: found in the files, torch-free, and complete enough to make forms and tables from."""

import subprocess
import sys

import pytest

from fda.errors import UserError
from fda.merging.methods.fda import STARTS
from fda.merging.registry import METHODS, method

DATA_FREE = {
    "pretrained", "average", "ta", "ties", "dare", "dare_ties", "breadcrumbs", "della", "magmax", "consensus_ta",
    "model_stock", "slerp", "tsv", "wudi", "iso_c", "iso_cts", "optmerge", "actmat", "tact", "swudi", "swudi_a", "dc_merge",
    "anchored_ridge", "sum",
}  # fmt: skip


def test_all_methods_are_there():
    assert not DATA_FREE - {m.name for m in METHODS.values() if m.needs == "nothing"}
    assert not {"regmean", "fisher", "adamerging", "adamerging_layer", "regmean_plusplus", "regmean:anchors"} - set(
        METHODS
    )
    adapted = {f"fda:{start}" for start in STARTS} | {"distill"}
    assert adapted == {m.name for m in METHODS.values() if m.start is not None}
    assert {m.name for m in METHODS.values() if m.start and m.trained == "weights"} == {
        "fda:pretrained", "fda:sum", "distill"
    }  # fmt: skip
    assert set(STARTS) == {"pretrained", "ta", "ties", "tsv", "wudi", "iso_c", "iso_cts", "swudi", "sum"}


def test_methods_come_by_need_then_by_year():
    keys = [(("nothing", "inputs", "labels", "anchors").index(m.needs), m.year or 0) for m in METHODS.values()]
    assert keys == sorted(keys)


@pytest.mark.parametrize("name", METHODS)
def test_an_entry_says_what_it_is(name):
    entry = METHODS[name]
    assert entry.name == name and entry.title and entry.idea.endswith(".")
    assert entry.paper.startswith("https://") or name in ("pretrained", "individual")
    assert entry.start is None or entry.start in METHODS
    if entry.merge is not None:
        assert entry.merge.__doc__


@pytest.mark.parametrize(
    ("name", "hyper"),
    [(m.name, h) for m in METHODS.values() for h in m.hyperparameters],
    ids=lambda v: getattr(v, "name", v),
)
def test_a_hyperparameter_has_a_default_in_its_range_and_a_source(name, hyper):
    assert isinstance(hyper.default, hyper.type), name
    assert hyper.help and hyper.source
    assert hyper.low is None or hyper.low <= hyper.default
    assert hyper.high is None or hyper.default <= hyper.high


def test_every_start_that_is_adapted_by_coefficients_merges_without_data():
    for start in STARTS:
        assert METHODS[start].merge is not None and METHODS[start].needs == "nothing"


def test_an_unknown_method_is_answered_with_the_nearest():
    assert method("ta") is METHODS["ta"]
    with pytest.raises(UserError, match=r"no merging method 'dare-ties' \(did you mean dare_ties\?\): choose among"):
        method("dare-ties")
    with pytest.raises(UserError, match="no merging method 'zzz': choose among"):
        method("zzz")


def test_listing_methods_and_treatments_does_not_load_torch():
    code = "import sys, fda.merging.registry, fda.merging.method; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
