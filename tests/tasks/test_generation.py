"""Texts that a language model writes, against the library's own `generate`, and the final answers in them."""

import csv
import math

import pytest
import torch
import transformers
import yaml

from fda.errors import UserError
from fda.tasks.data import load_split
from fda.tasks.evaluate import NoNumbers, evaluate
from fda.tasks.generation import final_answer, generated
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import CAUSAL, text_zoo

PROMPT = "the big {} is"
NUMBERS = {"cat": "12", "dog": "3", "bird": "1,200", "runs": "5.0", "sits": "0.50"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She pays 3 * 4 = 12 dollars.\n#### 12", "12"),
        ("#### 1,200", "1200"),
        ("The answer is: $18.00.", "18"),
        ("It is -3.50 degrees", "-3.5"),
        ("first 7, then 70%", "70"),
        ("it is .5", ".5"),
        ("She has 10 apples", "10"),
        ("9 is wrong #### 8, or", "8"),
        ("no number", None),
        ("", None),
    ],
)
def test_the_last_number_is_the_final_answer(text, answer):
    assert final_answer(text) == answer


def library_texts(folder, tokenizer, prompts, tokens):
    """Each prompt alone, by the checkpoint's own class."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    texts = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        made = model.generate(ids, max_new_tokens=tokens, do_sample=False, eos_token_id=4, pad_token_id=0)
        texts.append(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return texts


@pytest.mark.parametrize("name", CAUSAL)
def test_a_batch_is_written_as_the_library_writes_each_prompt(name, tmp_path):
    opened = open_zoo(load_zoo(text_zoo(tmp_path, name, headed=CAUSAL[name], metric="perplexity")))
    split = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    opened.model.load(opened.tasks["first"])
    head = task_head(opened, "first")
    prompts = split.samples(range(12))
    assert len({len(prompt.split()) for prompt in prompts}) > 3
    batch = split.at(range(12))
    texts = generated(opened.model, head, batch, split.transform, 8)
    assert texts == library_texts(tmp_path / "first", split.transform.tokenizer, prompts, 8)
    # writing leaves the head and the model as they were
    logits = head.answer(opened.model, batch)
    with torch.no_grad():
        library = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "first", attn_implementation="eager")
        assert torch.allclose(logits[0, :3], library(batch.ids[:1, :3]).logits[0], atol=1e-5)


def test_final_answers_are_scored_behind_a_prompt(tmp_path):
    path = text_zoo(
        tmp_path, "llama", headed="LlamaForCausalLM", label="answer", metric="final_answer", prompt=PROMPT, new_tokens=6
    )
    for file in tmp_path.glob("*/tokenizer.json"):
        text = file.read_text()
        for word, number in NUMBERS.items():
            text = text.replace(f'"{word}"', f'"{number}"')
        file.write_text(text)
    table = tmp_path / "data" / "first" / "test.csv"
    rows = list(csv.DictReader(table.open()))
    opened = open_zoo(load_zoo(path))
    task = opened.zoo.task("first")
    transform = opened.model.transform
    texts = library_texts(
        tmp_path / "first", transform.tokenizer, [PROMPT.replace("{}", row["sentence"]) for row in rows], 6
    )
    written = [final_answer(text) for text in texts]
    assert sum(answer is not None for answer in written) > 6, "the tiny model writes numbers"
    for place, row in enumerate(rows):
        row["answer"] = f"so #### {written[place] if place % 2 and written[place] else '77777'}"
    with table.open("w", newline="") as file:
        sheet = csv.DictWriter(file, rows[0])
        sheet.writeheader()
        sheet.writerows(rows)
    opened.model.load(opened.tasks["first"])
    head = task_head(opened, "first")
    answers = evaluate(opened.model, head, load_split(task, "test", transform), data=task.data)
    assert answers.metric == "final_answer"
    assert answers.predicted.tolist() == [int(place % 2 and one is not None) for place, one in enumerate(written)]

    plain = task.model_copy(update={"data": task.data.model_copy(update={"prompt": None})})
    assert load_split(plain, "test", transform).fingerprint != load_split(task, "test", transform).fingerprint
    broken = {
        name: tensor * math.nan if "down_proj" in name else tensor for name, tensor in opened.tasks["first"].items()
    }
    opened.model.load(broken)
    with pytest.raises(NoNumbers, match="24 of 24|NaN"):
        evaluate(opened.model, head, load_split(task, "test", transform), data=task.data)
    wordy = task.model_copy(update={"data": task.data.model_copy(update={"label": "second"})})
    with pytest.raises(UserError, match="the column 'second' has an answer without a number"):
        evaluate(opened.model, head, load_split(wordy, "test", transform), data=wordy.data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"metric": "perplexity", "new_tokens": 9}, "new_tokens` is read for `metric: final_answer` alone"),
        ({"prompt": "no place"}, "a `prompt` has one {}"),
        ({"prompt": "{} {}"}, "a `prompt` has one {}"),
        ({"prompt": "{}", "input": ["one", "two"]}, "the one column in `input`"),
        ({"metric": "final_answer", "new_tokens": 0}, "greater than or equal to 1"),
    ],
)
def test_keys_that_cannot_be_read_are_refused(tmp_path, data, says):
    path = tmp_path / "zoo.yaml"
    task = {"name": "sums", "model": "sums", "data": {"path": "sums.csv"} | data}
    path.write_text(yaml.safe_dump({"name": "tiny", "base": {"model": "base"}, "tasks": [task]}))
    with pytest.raises(UserError) as error:
        load_zoo(path)
    assert says in str(error.value)
