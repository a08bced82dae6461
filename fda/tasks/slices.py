"""Parts of a split, written as `datasets` writes them: `train[90%:]`, `train[:1000]`, `train[:10%]+test`.

Unlike `datasets`, we cut from a random order of the samples, drawn by the data's seed. Many data sets are sorted by class, so
the last tenth of their rows would hold only the last classes.
"""

import re
from collections.abc import Callable

import datasets
import numpy as np

from fda.errors import UserError

_PART = re.compile(r"\s*(?P<name>[\w.-]+)\s*(?P<cut>\[[^\]]*\])?\s*")


def split_names(split: str) -> tuple[str, ...]:
    """The names of the splits to cut from; `split` itself if it does not parse."""
    parts = [_PART.fullmatch(part) for part in split.split("+")]
    names = [part["name"] for part in parts if part is not None]
    return tuple(dict.fromkeys(names)) if len(names) == len(parts) else (split,)


def sliced(split: str, seed: int, load: Callable[[str], datasets.Dataset]) -> datasets.Dataset:
    """The samples of all parts, one part after the other, each in the order of the data. `load` loads a whole split by name.

    UserError for a part that cannot be cut.
    """
    loaded = []
    for part in split.split("+"):
        parsed = _PART.fullmatch(part)
        if parsed is None or parsed["cut"] is None:
            loaded.append(load(part.strip()))
            continue
        whole = load(parsed["name"])
        try:
            spans = datasets.ReadInstruction.from_spec(f"all{parsed['cut']}").to_absolute({"all": len(whole)})
        except (ValueError, AssertionError) as error:
            raise UserError(
                f"{split!r} cannot be cut from {len(whole)} samples ({error}): write [90%:] or [:1000]."
            ) from None
        order = np.random.default_rng(seed).permutation(len(whole))
        loaded += [whole.select(sorted(order[span.from_ : span.to].tolist())) for span in spans]
    return loaded[0] if len(loaded) == 1 else datasets.concatenate_datasets(loaded)
