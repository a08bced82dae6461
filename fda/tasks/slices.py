"""Parts of a split, written as `datasets` writes them: `train[90%:]`, `train[:1000]`, `train[:10%]+test`.

Unlike there, a part is cut from the samples in an order that the data's seed draws. Many data sets lie sorted by class, so
that the last tenth of them as they lie would hold the last classes alone.
"""

import re
from collections.abc import Callable

import datasets
import numpy as np

from fda.errors import UserError

_PART = re.compile(r"\s*(?P<name>[\w.-]+)\s*(?P<cut>\[[^\]]*\])?\s*")


def split_names(split: str) -> tuple[str, ...]:
    """The splits that are cut from, without what is cut; of what is no such text, itself."""
    parts = [_PART.fullmatch(part) for part in split.split("+")]
    return tuple(dict.fromkeys(part["name"] for part in parts)) if all(parts) else (split,)


def sliced(split: str, seed: int, load: Callable[[str], datasets.Dataset]) -> datasets.Dataset:
    """The samples of all parts one after the other, each part's in the order in which they lie. `load`: a whole split by name.

    UserError for what cannot be cut.
    """
    found = []
    for part in split.split("+"):
        parsed = _PART.fullmatch(part)
        if parsed is None or parsed["cut"] is None:
            found.append(load(part.strip()))
            continue
        whole = load(parsed["name"])
        try:
            asked = datasets.ReadInstruction.from_spec(f"all{parsed['cut']}").to_absolute({"all": len(whole)})
        except (ValueError, AssertionError) as error:
            raise UserError(
                f"{split!r} cannot be cut from {len(whole)} samples ({error}): write [90%:] or [:1000]."
            ) from None
        order = np.random.default_rng(seed).permutation(len(whole))
        found += [whole.select(sorted(order[one.from_ : one.to].tolist())) for one in asked]
    return found[0] if len(found) == 1 else datasets.concatenate_datasets(found)
