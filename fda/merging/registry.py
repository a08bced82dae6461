"""All merging methods by name, found in the files of this package, in the order in which tables list them."""

import difflib
import importlib
import pkgutil

import fda.merging
from fda.errors import UserError
from fda.merging.method import Method

# What `compare` takes where nobody names methods. Each but `individual` leaves a file of its own.
MAIN_METHODS = ("pretrained", "individual", "average", "ta", "tsv", "fda:pretrained", "fda:ta", "fda:tsv")
_NEEDS_ORDER = ("nothing", "inputs", "labels", "anchors")


def _discover() -> dict[str, Method]:
    found = []
    for module in pkgutil.iter_modules(fda.merging.__path__):
        if module.name not in ("registry", "method", "merge", "sweep", "listing"):
            entries = vars(importlib.import_module(f"fda.merging.{module.name}")).values()
            for entry in entries:
                found += [entry] if isinstance(entry, Method) else []
                found += [m for m in entry if isinstance(m, Method)] if isinstance(entry, tuple) else []
    found.sort(
        key=lambda method: (_NEEDS_ORDER.index(method.needs), method.year)
    )  # stable: then by file, then as written
    variants = [variant for one in found for variant in ((one, one.as_swept) if one.coefficient else (one,))]
    return {one.name: one for one in variants}


METHODS: dict[str, Method] = _discover()


def method(name: str) -> Method:
    """The method called `name`; a UserError that suggests the nearest name if there is none."""
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), METHODS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(f"there is no merging method {name!r}{hint}: choose among {', '.join(METHODS)}.")
