"""The shipped zoo of GLUE on tables that are laid out as the hub's nyu-mll/glue is, with tiny models in place of RoBERTa."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import transformers
import yaml
from scipy import stats
from sklearn.metrics import matthews_corrcoef
from typer.testing import CliRunner

from fda.cli.app import app
from fda.zoos.zoo import list_zoos
from tests.support.library_zoos import TEXT, WORDS, shaken, tokenizer

TEXTS = {
    "cola": ("sentence",),
    "sst2": ("sentence",),
    "mrpc": ("sentence1", "sentence2"),
    "stsb": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "rte": ("sentence1", "sentence2"),
}
NAMES = {
    "cola": ("unacceptable", "acceptable"),
    "sst2": ("negative", "positive"),
    "mrpc": ("not_equivalent", "equivalent"),
    "qqp": ("not_duplicate", "duplicate"),
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
}
HEADS = {"mnli": ("contradiction", "neutral", "entailment"), "sst2": ("NEGATIVE", "POSITIVE")}  # as on the hub
SAMPLES = 24


def glue_table(task: str, seed: int) -> datasets.Dataset:
    random = np.random.default_rng(seed)
    columns = {
        name: [" ".join(random.choice(WORDS, random.integers(2, 7))) for _ in range(SAMPLES)] for name in TEXTS[task]
    }
    features = {name: datasets.Value("string") for name in columns}
    if task == "stsb":
        columns["label"], features["label"] = random.uniform(0, 5, SAMPLES), datasets.Value("float32")
    else:
        columns["label"] = [place % len(NAMES[task]) for place in range(SAMPLES)]
        features["label"] = datasets.ClassLabel(names=list(NAMES[task]))
    columns["idx"], features["idx"] = list(range(SAMPLES)), datasets.Value("int32")
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def save_glue(folder: Path) -> None:
    """Eight configurations, a folder each, as the hub's README says where they lie."""
    card = []
    for seed, task in enumerate(TEXTS):
        splits = ["train", *(["validation_matched", "validation_mismatched"] if task == "mnli" else ["validation"])]
        files = [{"split": split, "path": f"{task}/{split}-*"} for split in splits]
        card.append({"config_name": task, "data_files": files})
        (folder / task).mkdir(parents=True)
        for split in splits:
            glue_table(task, seed).to_parquet(folder / task / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': card})}---\n")


def save_models(folder: Path) -> None:
    fields = {**TEXT, "type_vocab_size": 1}
    torch.manual_seed(0)
    base = transformers.RobertaModel(transformers.RobertaConfig(**fields))
    shaken(base, 0, 0.2)
    base.save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    for seed, task in enumerate(TEXTS, 1):
        names = HEADS.get(task)
        own = {"num_labels": 1 if task == "stsb" else len(NAMES[task])}
        own |= {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}} if names else {}
        model = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**fields, **own))
        model.roberta.load_state_dict(base.state_dict(), strict=False)
        shaken(model.roberta, seed, 0.05, "layer")
        shaken(model, seed, 0.3, "classifier")
        model.save_pretrained(folder / task)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("glue")
    save_glue(folder / "glue")
    save_models(folder)
    content = yaml.safe_load(list_zoos()["roberta-base-glue"].read_text())
    content["base"]["model"] = "base"
    for task in content["tasks"]:
        task["model"] = task["name"]
        task["data"]["path"] = "glue"
    (folder / "zoo.yaml").write_text(yaml.safe_dump(content))
    return folder / "zoo.yaml"


def answered(folder: Path, task: str) -> np.ndarray:
    """(n, outputs): by the checkpoint's own class on the table, sample by sample."""
    model = transformers.RobertaForSequenceClassification.from_pretrained(folder / task).eval()
    rows, made = glue_table(task, list(TEXTS).index(task)), tokenizer()
    with torch.no_grad():
        return torch.cat(
            [model(**made(*(row[c] for c in TEXTS[task]), return_tensors="pt")).logits for row in rows]
        ).numpy()


def test_every_task_is_checked_and_scored_by_its_own_metric(zoo, fda_home):
    checked = CliRunner().invoke(app, ["zoo", "check", str(zoo)])
    assert checked.exit_code == 0 and "8 tasks, 2 blocks: everything fits together" in checked.stdout
    notes = [line for line in checked.stderr.splitlines() if line.startswith("note: ")]
    named = [note for note in notes if "labels are taken by name" in note]
    assert len(named) == 1 and "task 'mnli'" in named[0]
    trusted = {note.split("'")[1] for note in notes if "classes have no names" in note}
    assert trusted == TEXTS.keys() - HEADS.keys() - {"stsb"}, "of those heads nobody knows the order"
    report = fda_home / "scores.json"
    words = ["compare", "--zoo", str(zoo), "--methods", "average", "--device", "cpu", "--json", str(report)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    rows = {row["method"]: row["accuracy"] for row in json.loads(report.read_text())["rows"]}
    assert rows["average"].keys() == rows["individual"].keys() == TEXTS.keys()
    for seed, task in enumerate(TEXTS):
        logits, label = answered(zoo.parent, task), np.array(glue_table(task, seed)["label"])
        if task == "stsb":
            expected = stats.pearsonr(logits[:, 0], label).statistic
        else:
            names = HEADS.get(task, NAMES[task])
            given = np.array([NAMES[task].index(names[one].lower()) for one in logits.argmax(axis=1)])
            expected = matthews_corrcoef(label, given) if task == "cola" else (given == label).mean()
        assert rows["individual"][task] == pytest.approx(expected, abs=1e-5), task
