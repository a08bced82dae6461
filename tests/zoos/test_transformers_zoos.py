"""Zoos of transformers models through the whole program: check, construct, merge, evaluate; logits against the library's."""

import csv
import json
import math
from dataclasses import replace

import pandas
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from scipy import stats
from sklearn.metrics import matthews_corrcoef
from typer.testing import CliRunner

from fda.cli.app import app
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.registry import METHODS
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.generation import generated
from fda.tasks.heads import task_head
from fda.tasks.inputs import block_inputs
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import CAUSAL, PICTURES, TEXTS, clip_zoo, image_zoo, text_zoo


def command(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def library_logits(folder, batch) -> torch.Tensor:
    """By the checkpoint's own class."""
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        if isinstance(batch, torch.Tensor):
            return model(pixel_values=batch).logits
        segments = {} if batch.segments is None else {"token_type_ids": batch.segments}
        return model(input_ids=batch.ids, attention_mask=batch.mask.long(), **segments).logits


def sentences(folder, task="first") -> list[str]:
    with (folder / "data" / task / "test.csv").open() as file:
        return [row["sentence"] for row in csv.DictReader(file)]


def one_task_merged_is_the_finetuned_model(path):
    """λ = 1 on one task gives back its logits."""
    opened = open_zoo(load_zoo(path))
    task = opened.zoo.task("first")
    batch = load_split(task, "test", opened.model.transform).images(24)
    opened.model.load(merge(METHODS["ta"], opened.base, [opened.tasks["first"]], scale=1.0))
    with torch.no_grad():
        own = task_head(opened, "first").answer(opened.model, batch)
    expected = library_logits(path.parent / "first", batch)
    assert own.shape == expected.shape and torch.allclose(own, expected, atol=1e-5)
    opened.model.load(opened.base)
    with torch.no_grad():
        assert not torch.allclose(task_head(opened, "first").answer(opened.model, batch), expected, atol=1e-3)


def exported(path, run_id, method, *options):
    """The folder that `export` writes."""
    folder = path.parent / f"export-{method.replace(':', '-')}-{'-'.join(map(str, options)).strip('-')}"
    command("export", run_id, "--method", method, "--out", folder, *options)
    return folder


def the_library_loads_what_was_merged(path, run_id, method):
    """The exported folder gives the logits of the merged model in memory, with the head of a task and without any."""
    opened = open_zoo(load_zoo(path))
    batch = load_split(opened.zoo.task("second"), "test", opened.model.transform).images(24)
    merged = load_file(Store().run_dir(run_id) / "merged" / f"{method}.safetensors")
    opened.model.load(merged)
    with torch.no_grad():
        expected = task_head(opened, "second").answer(opened.model, batch)
    folder = exported(path, run_id, method, "--task", "second")
    assert torch.allclose(library_logits(folder, batch), expected, atol=1e-5)
    bare = type(opened.model.module).from_pretrained(exported(path, run_id, method)).state_dict()
    assert all(torch.equal(bare[name], merged[name]) for name in merged)
    loaded = transformers.AutoConfig.from_pretrained(folder)
    assert loaded.architectures == json.loads((path.parent / "second" / "config.json").read_text())["architectures"]
    assert opened.model.transform.identity == checkpoint_transform_of(opened, folder).identity


def checkpoint_transform_of(opened, folder):
    """The processor or tokenizer that a folder brings."""
    return replace(opened.model, folders=(folder,)).transform


def run_ids() -> set[str]:
    return {run["run_id"] for run in json.loads(command("runs", "list", "--json")) if run["state"] == "done"}


def whole_program(path, metric="accuracy"):
    assert "everything fits together" in command("zoo", "check", path)
    report = path.parent / "scores.json"
    before = run_ids()
    command("construct", "--zoo", path, "--steps", 5, "--anchors", 4, "--device", "cpu")
    (run_id,) = run_ids() - before
    methods = ("--methods", "average,ta,tsv,fda:ta")
    before = run_ids()
    command("compare", "--zoo", path, "--anchors", run_id, *methods, "--json", report, "--device", "cpu")
    (compared,) = run_ids() - before
    if open_zoo(load_zoo(path)).zoo.task("first").head is None:
        the_library_loads_what_was_merged(path, compared, "fda:ta")
    rows = {row["method"]: row for row in json.loads(report.read_text())["rows"]}
    assert {"pretrained", "individual", "average", "ta", "tsv", "fda:ta"} <= rows.keys()
    for row in rows.values():
        assert row["accuracy"].keys() == {"first", "second"} and all(-1 <= one <= 1 for one in row["accuracy"].values())
    return rows


@pytest.mark.parametrize("name", TEXTS)
def test_a_classifier_of_texts_goes_the_whole_way(tmp_path, name):
    path = text_zoo(tmp_path, name)
    one_task_merged_is_the_finetuned_model(path)
    whole_program(path)


@pytest.mark.parametrize("name", PICTURES)
def test_a_classifier_of_images_goes_the_whole_way(tmp_path, name):
    path = image_zoo(tmp_path, name)
    one_task_merged_is_the_finetuned_model(path)
    whole_program(path)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_language_head_gives_the_librarys_logits_and_goes_along(tmp_path, name):
    path = text_zoo(tmp_path, name, headed=CAUSAL[name])
    one_task_merged_is_the_finetuned_model(path)
    command("compare", "--zoo", path, "--methods", "ta", "--device", "cpu")
    (compared,) = run_ids()
    the_library_loads_what_was_merged(path, compared, "ta")


def test_clip_of_transformers_goes_the_whole_way_with_zero_shot_heads(tmp_path):
    path = clip_zoo(tmp_path)
    opened = open_zoo(load_zoo(path))
    batch = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(24)
    opened.model.load(merge(METHODS["ta"], opened.base, [opened.tasks["first"]], scale=1.0))
    head = task_head(opened, "first")
    whole = transformers.CLIPModel.from_pretrained(tmp_path / "base", attn_implementation="eager").eval()
    tower = transformers.CLIPVisionModel.from_pretrained(tmp_path / "first")
    whole.vision_model.load_state_dict(tower.state_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "base")
    asked, rows = opened.zoo.task("first").head.zero_shot, []
    with torch.no_grad():
        for name in asked.classes:
            total = 0
            for template in asked.templates:  # one at a time, so nothing is padded
                made = tokenizer(template.format(name), return_tensors="pt")
                one = whole.get_text_features(input_ids=made["input_ids"]).pooler_output[0]
                total = total + one / one.norm()
            rows.append(total / total.norm())
        images = whole.get_image_features(pixel_values=batch).pooler_output
        expected = whole.logit_scale.exp() * (images / images.norm(dim=1, keepdim=True)) @ torch.stack(rows).T
        assert torch.allclose(head.answer(opened.model, batch), expected, atol=1e-4)
    whole_program(path)


def test_a_task_head_is_computed_once(tmp_path, fda_home):
    opened = open_zoo(load_zoo(clip_zoo(tmp_path)))
    first = task_head(opened, "first")
    (kept,) = (fda_home / "cache" / "heads").glob("*.safetensors")
    written = kept.stat().st_mtime_ns
    again = task_head(opened, "second")  # the same classes and templates
    assert torch.equal(first.weight, again.weight) and kept.stat().st_mtime_ns == written


def test_pairs_of_sentences_class_names_and_a_sample_of_the_data(tmp_path):
    path = text_zoo(tmp_path, "bert", labels="name", input=["sentence", "second"], samples=10, seed=3)
    opened = open_zoo(load_zoo(path))
    split = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    again = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    assert len(split) == 10 and split.fingerprint == again.fingerprint
    with (tmp_path / "data" / "first" / "test.csv").open() as file:
        numbers = {row["sentence"]: ("yes", "no").index(row["label"]) for row in csv.DictReader(file)}
    assert split.labels().tolist() == [numbers[one] for one, _ in split.samples(range(10))]
    batch = split.images(10)
    assert batch.segments.max() == 1  # the second sentence is told from the first
    one_task_merged_is_the_finetuned_model(path)


def test_padding_changes_no_answer_and_is_no_block_input(tmp_path):
    opened = open_zoo(load_zoo(text_zoo(tmp_path, "roberta")))
    opened.model.load(opened.tasks["first"])
    split = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    head = task_head(opened, "first")
    together = head.answer(opened.model, split.at(range(24)))
    alone = torch.cat([head.answer(opened.model, split.at([place])) for place in range(24)])
    assert torch.allclose(together, alone, atol=1e-5)
    inputs = block_inputs(opened.model, split.at(range(24)))
    assert [tuple(one.shape) for one in inputs] == [(24, 16, 16)] * 2
    for place in range(24):
        own = split.at([place])
        hidden = opened.model.module(input_ids=own.ids, output_hidden_states=True).hidden_states
        for index, one in enumerate(inputs):
            assert torch.cdist(one[place], hidden[index][0]).min(dim=1).values.max() < 1e-4


def test_a_regression_is_scored_by_pearson_and_cola_by_matthews(tmp_path):
    rows = whole_program(text_zoo(tmp_path / "one", "roberta", labels="number", metric="pearson"))
    opened = open_zoo(load_zoo(tmp_path / "one" / "zoo.yaml"))
    split = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    logits = library_logits(tmp_path / "one" / "first", split.at(range(24)))[:, 0]
    expected = stats.pearsonr(logits.numpy(), split.labels().numpy()).statistic
    assert rows["individual"]["accuracy"]["first"] == pytest.approx(expected, abs=1e-4)

    rows = whole_program(text_zoo(tmp_path / "two", "distilbert", metric="matthews"))
    opened = open_zoo(load_zoo(tmp_path / "two" / "zoo.yaml"))
    split = load_split(opened.zoo.task("second"), "test", opened.model.transform)
    predicted = library_logits(tmp_path / "two" / "second", split.at(range(24))).argmax(dim=1)
    expected = matthews_corrcoef(split.labels(), predicted)
    assert rows["individual"]["accuracy"]["second"] == pytest.approx(expected, abs=1e-6)


def test_a_causal_model_has_next_token_accuracy_and_perplexity(tmp_path):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM", zoo={"family": "llama"})
    rows = whole_program(path)
    opened = open_zoo(load_zoo(path))
    assert all(".mlp." in block.prefix and block.tokens == 1 for block in opened.model.blocks)
    split = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "first")
    right, tokens, loss = 0, 0, 0.0
    for text in sentences(tmp_path):
        ids = torch.tensor([split.transform.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            found = model(input_ids=ids, labels=ids)
        right += (found.logits[0, :-1].argmax(-1) == ids[0, 1:]).sum().item()
        tokens += ids.shape[1] - 1
        loss += found.loss.item() * (ids.shape[1] - 1)
    assert rows["individual"]["accuracy"]["first"] == pytest.approx(right / tokens)
    assert rows["individual"]["settings"]["perplexity"]["first"] == pytest.approx(math.exp(loss / tokens), rel=1e-4)


def test_exact_match_is_what_the_library_writes(tmp_path):
    path = text_zoo(tmp_path, "gpt2", headed="GPT2LMHeadModel", label="answer", metric="exact_match")
    opened = open_zoo(load_zoo(path))
    task = opened.zoo.task("first")
    split = load_split(task, "test", opened.model.transform)
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "first")
    tokenizer, expected = split.transform.tokenizer, []
    for text in sentences(tmp_path):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        made = model.generate(ids, max_length=24, do_sample=False, eos_token_id=4, pad_token_id=0)
        expected.append(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip())
    opened.model.load(opened.tasks["first"])
    head = task_head(opened, "first")
    assert generated(opened.model, head, split.at(range(24)), split.transform, 24, one_line=True) == expected
    path = tmp_path / "data" / "first" / "test.csv"
    rows = [dict(row) for row in csv.DictReader(path.open())]
    answers = [text if place < 6 else "cat" for place, text in enumerate(expected)]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(row | {"answer": answer} for row, answer in zip(rows, answers, strict=True))
    split = load_split(task, "test", opened.model.transform)
    found = evaluate(opened.model, head, split, data=task.data)
    assert found.metric == "exact_match" and found.value == sum(map(str.__eq__, answers, expected)) / 24 >= 0.25


def test_answers_are_kept_and_not_asked_for_again(tmp_path, monkeypatch):
    path = text_zoo(tmp_path, "roberta")
    words = ("compare", "--zoo", path, "--methods", "ta", "--device", "cpu", "--fresh", "--json")
    command(*words, tmp_path / "one.json")
    calls = []
    monkeypatch.setattr("fda.stages.scoring.evaluate", lambda *args: calls.append(args))
    command(*words, tmp_path / "two.json")
    one, two = (
        [row["accuracy"] for row in json.loads((tmp_path / f"{n}.json").read_text())["rows"]] for n in ("one", "two")
    )
    assert one == two and not calls


def test_a_pooler_that_the_base_lacks_stays_with_the_head(tmp_path):
    path = text_zoo(tmp_path, "bert")
    base = load_file(tmp_path / "base" / "model.safetensors")
    save_file({name: t for name, t in base.items() if "pooler" not in name}, tmp_path / "base" / "model.safetensors")
    opened = open_zoo(load_zoo(path))
    batch = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(24)
    opened.model.load(opened.tasks["first"])
    own = task_head(opened, "first").answer(opened.model, batch)
    assert torch.allclose(own, library_logits(tmp_path / "first", batch), atol=1e-5)


def test_an_adapter_brings_its_classifier(tmp_path):
    path = text_zoo(tmp_path, "roberta")
    base = load_file(tmp_path / "base" / "model.safetensors")
    whole = load_file(tmp_path / "first" / "model.safetensors")
    layer = "encoder.layer.0.attention.self.query"
    a, b = torch.randn(2, 16), torch.randn(16, 2)
    own = {f"base_model.model.roberta.{layer}.lora_A.weight": a, f"base_model.model.roberta.{layer}.lora_B.weight": b}
    own |= {f"base_model.model.{name}": tensor for name, tensor in whole.items() if name.startswith("classifier")}
    for file in (tmp_path / "first").iterdir():
        file.unlink()
    save_file(own, tmp_path / "first" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "task_type": "SEQ_CLS", "target_modules": ["query"]}
    (tmp_path / "first" / "adapter_config.json").write_text(json.dumps(config))
    opened = open_zoo(load_zoo(path))
    batch = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(24)
    opened.model.load(opened.tasks["first"])
    model = transformers.RobertaForSequenceClassification.from_pretrained(tmp_path / "second")
    state = {f"roberta.{name}": tensor for name, tensor in base.items() if "pooler" not in name}
    state[f"roberta.{layer}.weight"] = base[f"{layer}.weight"] + 2 * b @ a
    model.load_state_dict(state | {name: t for name, t in whole.items() if name.startswith("classifier")})
    with torch.no_grad():
        expected = model.eval()(input_ids=batch.ids, attention_mask=batch.mask.long()).logits
    assert torch.allclose(task_head(opened, "first").answer(opened.model, batch), expected, atol=1e-5)


def test_what_does_not_belong_together_is_said_in_a_sentence(tmp_path):
    path = text_zoo(tmp_path, "roberta")
    opened = open_zoo(load_zoo(path))
    task = opened.zoo.task("first")
    head = task_head(opened, "first")
    opened.model.load(opened.base)

    def scored(**changes):
        own = task.model_copy(update={"data": task.data.model_copy(update=changes)})
        return evaluate(opened.model, head, load_split(own, "test", opened.model.transform), data=own.data)

    with pytest.raises(UserError, match="cannot be scored by exact_match"):
        scored(metric="exact_match")
    with pytest.raises(UserError, match="a head of one number, but this one has 2"):
        scored(metric="pearson")
    with pytest.raises(UserError, match="has no column 'text'"):
        scored(input="text")
    numbers = tmp_path / "numbers.parquet"  # a cell of a CSV is a text; a table of numbers holds none
    pandas.DataFrame({"sentence": [1, 2], "label": [0, 1]}).to_parquet(numbers)
    with pytest.raises(UserError, match="holds int, but the model takes texts"):
        scored(path=str(numbers))
    with pytest.raises(UserError, match="holds class names, but neither"):
        scored(label="answer")
    (tmp_path / "base" / "tokenizer.json").unlink()
    (tmp_path / "base" / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="holds no tokenizer"):
        _ = open_zoo(load_zoo(path)).model.transform


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
