"""Tasks of lm-evaluation-harness on an exported language model, by the command; code is run only when asked for."""

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers

from fda.cli import app as cli
from fda.errors import UserError
from fda.tasks.harness import harness_scores
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import CAUSAL, text_zoo

QUESTION, CHOICES, ANSWERS = "the big cat is", ("red", "blue"), ("red", "blue", "red")


@pytest.fixture(scope="module")
def harness():
    """The harness, which lists its own tasks, thousands of files, only once."""
    tasks = pytest.importorskip("lm_eval.tasks")
    with pytest.MonkeyPatch.context() as patch:
        manager, listed_once = tasks.TaskManager, cache(tasks.TaskManager)
        patch.setattr(
            tasks, "TaskManager", lambda **words: (manager if words["include_path"] else listed_once)(**words)
        )
        yield


@pytest.fixture
def folder(tmp_path) -> Path:
    """A Llama with its tokenizer in one folder, as it is exported."""
    zoo = load_zoo(text_zoo(tmp_path, "llama", headed=CAUSAL["llama"], metric="perplexity"))
    model = Path(zoo.tasks[0].model)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(zoo.base.model) / name, model)
    return model


@pytest.fixture
def own_tasks(tmp_path) -> Path:
    tasks = tmp_path / "own"
    tasks.mkdir()
    rows = tasks / "rows.jsonl"
    rows.write_text("".join(json.dumps({"q": QUESTION, "a": answer}) + "\n" for answer in ANSWERS))
    (tasks / "colour.yaml").write_text(
        f"task: colour\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\ntest_split: test\n"
        'output_type: multiple_choice\ndoc_to_text: "{{q}}"\n'
        f'doc_to_choice: {json.dumps(CHOICES)}\ndoc_to_target: "{{{{a}}}}"\nmetric_list: [{{metric: acc}}]\n'
    )
    return tasks


@pytest.mark.timeout(300)
def test_the_command_scores_a_task_as_the_library_does(harness, folder, own_tasks, tmp_path, capsys):
    out = tmp_path / "scores.json"
    words = ["lm-eval", str(folder), "--tasks", "colour", "--task-files", str(own_tasks), "--samples", "2"]
    cli.app([*words, "--batch", "1", "--device", "cpu", "--json", str(out)], standalone_mode=False)
    (score,) = json.loads(out.read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

    @torch.no_grad()
    def likelihood(choice: str) -> float:
        asked, whole = (tokenizer(text)["input_ids"] for text in (QUESTION, f"{QUESTION} {choice}"))
        logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        return sum(logits[at - 1, whole[at]].item() for at in range(len(asked), len(whole)))

    likeliest = max(CHOICES, key=likelihood)
    assert score["value"] == ANSWERS[:2].count(likeliest) / 2
    assert (score["task"], score["metric"], score["samples"]) == ("colour", "acc", 2)
    assert f"colour  acc: {score['value']:.4f}" in capsys.readouterr().out
    with pytest.raises(UserError, match="fetches the metric 'code_eval' as code from a hub: add --allow-code"):
        harness_scores(folder, ["humaneval"])


def test_code_of_own_tasks_is_not_run_unasked(harness, folder, own_tasks):
    mark = own_tasks / "was-run"
    (own_tasks / "code.py").write_text(f"open({str(mark)!r}, 'w')\n\ndef text(row):\n    return row['q']\n")
    task = own_tasks / "colour.yaml"
    task.write_text(task.read_text().replace('"{{q}}"', "!function code.text"))
    with pytest.raises(UserError, match="is or calls code, which would be run: add --allow-code"):
        harness_scores(folder, ["colour"], task_files=own_tasks)
    assert not mark.exists()
    words = ["lm-eval", str(folder), "--tasks", "colour", "--task-files", str(own_tasks), "--allow-code"]
    cli.app([*words, "--device", "cpu"], standalone_mode=False)
    assert mark.exists()


def test_an_unknown_task_is_named(harness, folder):
    with pytest.raises(UserError, match="the harness has no task 'lost'"):
        harness_scores(folder, ["lost"])


def test_without_the_harness_it_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match="lm-evaluation-harness is not installed"):
        harness_scores(folder, ["colour"])
