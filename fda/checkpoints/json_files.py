"""Read JSON files beside weights (configs, indexes, vocabularies) up to a size that a server can afford.

A text of n bytes becomes at most about 20 n bytes of objects, so a bound on the file bounds the memory.
"""

import json
from pathlib import Path
from typing import Any

# Configs name up to 22,000 classes twice (3 MB); an index of 100,000 tensors is 10 MB; the largest tokenizers are 35 MB.
CONFIG_BYTES, INDEX_BYTES, VOCABULARY_BYTES = 4 * 2**20, 64 * 2**20, 128 * 2**20


def read_json(path: Path, most: int = CONFIG_BYTES) -> Any:
    """Parse a JSON file of at most `most` bytes. OSError or ValueError if it cannot be read or parsed.

    For a number of thousands of digits Python itself raises the ValueError.
    """
    if not path.is_file():  # reading a pipe would block
        raise FileNotFoundError(2, "there is no such file", str(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB, more than any file of its kind")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
