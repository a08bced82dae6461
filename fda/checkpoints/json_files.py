"""JSON files beside weights, read within bounds that a server may afford: configs, indexes, vocabularies.

A text of n bytes becomes at most some 20 n bytes of objects, so bounding what is read bounds what it costs.
"""

import json
from pathlib import Path
from typing import Any

# Configs name up to 22,000 classes twice (3 MB); an index of 100,000 tensors is 10 MB; the largest tokenizers are 35 MB.
CONFIG_BYTES, INDEX_BYTES, VOCABULARY_BYTES = 4 * 2**20, 64 * 2**20, 128 * 2**20


def read_json(path: Path, most: int = CONFIG_BYTES) -> Any:
    """What a JSON file of at most `most` bytes holds. OSError or ValueError, whatever is wrong with it.

    A number of thousands of digits is a ValueError of Python's own.
    """
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(2, "there is no such file", str(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB, more than any file of its kind")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
