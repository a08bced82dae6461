"""Configs that say something else than the tensors beside them: the tensors win, with a note, and logits are the library's."""

import json
import math
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fda.checkpoints.weights import Checkpoint
from fda.errors import UserError
from fda.requests.preview import preview
from fda.stages.adapter_frame import frame_of
from fda.stages.export import export_model
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo, tell_once
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import TEXTS, save_texts, save_zoo, text_zoo, tokenizer


@pytest.fixture(autouse=True)
def notes_are_told_anew():
    torch.set_num_threads(1)
    tell_once.cache_clear()


def causal_zoo(folder: Path, **fields) -> Path:
    """A Llama whose language head is tied or not, 24 rows for the tokenizer's 21 tokens."""
    config = transformers.LlamaConfig(**TEXTS["llama"][1] | {"vocab_size": 24} | fields)
    for seed, task in enumerate(("first", "second")):
        for split in ("train", "test"):
            save_texts(folder / "data" / task / f"{split}.csv", seed)
    data = {"path": "data/TASK", "split": "test", "train_split": "train", "input": "sentence", "metric": "perplexity"}
    path = save_zoo(folder, config, "LlamaForCausalLM", data, processor=tokenizer())
    embeddings = load_file(folder / "second" / "model.safetensors")["model.embed_tokens.weight"]
    edit_tensors(folder / "second", model__embed_tokens__weight=embeddings + 0.1 * torch.randn_like(embeddings))
    return path


def edit_config(folder: Path, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_tensors(folder: Path, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    path = folder / "model.safetensors"
    content = load_file(path) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file(content, path, {"format": "pt"})
    return content


def library_model(folder: Path):
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()


@torch.no_grad()
def answers(model, batch) -> torch.Tensor:
    return model(input_ids=batch.ids, attention_mask=batch.mask.long()).logits


@torch.no_grad()
def own_answers(opened, task: str, weights) -> tuple[torch.Tensor, object]:
    batch = load_split(opened.zoo.task(task), "test", opened.model.transform).images(24)
    opened.model.load(weights)
    return task_head(opened, task).answer(opened.model, batch), batch


def require_equal(own: torch.Tensor, expected: torch.Tensor, batch) -> None:
    real = batch.mask if own.ndim == 3 else slice(None)
    assert own.shape == expected.shape
    assert torch.allclose(own[real], expected[real], atol=1e-5)


def scores_and_export_are_the_librarys(path: Path, task: str = "first", whole=None) -> transformers.PreTrainedModel:
    """Logits of the finetuned model, and those of an average exported with the task's head; the exported model."""
    opened = open_zoo(load_zoo(path))
    own, batch = own_answers(opened, task, opened.tasks[task])
    require_equal(own, answers(whole or library_model(path.parent / task), batch), batch)
    first, second = opened.tasks.values()
    average = {name: (first[name] + second[name]) / 2 for name in opened.base}
    own, batch = own_answers(opened, task, average)
    save_file(average, path.parent / "average.safetensors")
    out = path.parent / f"exported-{task}"
    out.mkdir()
    export_model(frame_of(opened, task), Checkpoint(path.parent / "average.safetensors"), out)
    exported = library_model(out)
    require_equal(own, answers(exported, batch), batch)
    return exported


def test_a_head_of_the_files_own_unties_what_the_config_ties(tmp_path, capsys):
    path = causal_zoo(tmp_path, tie_word_embeddings=True)
    embeddings = load_file(tmp_path / "first" / "model.safetensors")["model.embed_tokens.weight"]
    edit_tensors(tmp_path / "first", lm_head__weight=embeddings + 0.5 * torch.randn_like(embeddings))
    exported = scores_and_export_are_the_librarys(path)
    assert exported.config.tie_word_embeddings is False
    note = "differs from them: the head is the file's, as for the library."
    assert [one.endswith(note) for one in preview(load_zoo(path)).notes] == [True]
    assert capsys.readouterr().err.count(note) == 1
    opened = open_zoo(load_zoo(path))
    task = opened.zoo.task("first")
    split = load_split(task, "test", opened.model.transform)
    opened.model.load(opened.tasks["first"])
    found = evaluate(opened.model, task_head(opened, "first"), split, data=task.data)
    loss, tokens, model = 0.0, 0, library_model(tmp_path / "first")
    for place in range(24):
        ids = split.at([place]).ids
        with torch.no_grad():
            loss += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert found.perplexity == pytest.approx(math.exp(loss / tokens), rel=1e-4)
    scores_and_export_are_the_librarys(path, "second")


def test_a_copy_of_the_embeddings_stays_the_tasks_own_where_the_config_ties_nothing(tmp_path):
    path = causal_zoo(tmp_path, tie_word_embeddings=False)
    tensors = load_file(tmp_path / "first" / "model.safetensors")
    edit_tensors(tmp_path / "first", lm_head__weight=tensors["model.embed_tokens.weight"].clone())
    exported = scores_and_export_are_the_librarys(path)
    assert not torch.equal(exported.lm_head.weight, exported.model.embed_tokens.weight)


def test_a_file_that_keeps_the_tied_matrix_as_the_heads_is_read(tmp_path):
    path = causal_zoo(tmp_path, tie_word_embeddings=True)
    tensors = load_file(tmp_path / "first" / "model.safetensors")
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, tmp_path / "first" / "model.safetensors", {"format": "pt"})
    scores_and_export_are_the_librarys(path)


def test_an_untied_head_that_the_file_lacks_is_asked_for(tmp_path):
    path = causal_zoo(tmp_path, tie_word_embeddings=True)
    edit_config(tmp_path / "first", tie_word_embeddings=False)
    (problem,) = preview(load_zoo(path)).problems
    assert problem.startswith(
        f"{tmp_path}/first/model.safetensors has no tensor lm_head.weight, and its config.json says"
    )
    assert problem.endswith("set it to true if they are, or save the model again with its head.")
    with pytest.raises(UserError, match="has no tensor lm_head.weight"):
        task_head(open_zoo(load_zoo(path)), "first")


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("rows", [21, 32])
def test_a_vocabulary_of_another_size_is_the_tasks_own_in_its_head(tmp_path, tie, rows):
    path = causal_zoo(tmp_path, tie_word_embeddings=tie)
    model = library_model(tmp_path / "first")
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(tmp_path / "first")
    assert preview(load_zoo(path)).problems == ()
    exported = scores_and_export_are_the_librarys(path)
    assert exported.model.embed_tokens.weight.shape == exported.lm_head.weight.shape == (rows, 16)
    scores_and_export_are_the_librarys(path, "second")
    opened = open_zoo(load_zoo(path))
    assert opened.tasks["first"]["embed_tokens.weight"].shape == (24, 16)
    if rows == 21:  # rows that are never used have no task vector
        assert torch.equal(opened.tasks["first"]["embed_tokens.weight"][21:], opened.base["embed_tokens.weight"][21:])


def test_a_vocabulary_that_lost_used_tokens_is_refused_in_one_sentence(tmp_path):
    path = causal_zoo(tmp_path, tie_word_embeddings=True)
    model = library_model(tmp_path / "first")
    model.resize_token_embeddings(20)
    model.save_pretrained(tmp_path / "first")
    (problem,) = preview(load_zoo(path)).problems[:1]
    assert "the vocabulary was cut: model.embed_tokens.weight has 20 rows where the base has 24" in problem
    assert problem.endswith("or bring the rows back with `resize_token_embeddings(24)`.")


def test_classes_are_counted_on_the_classifier(tmp_path, capsys):
    path = text_zoo(tmp_path, "bert")
    config = transformers.BertConfig(**TEXTS["bert"][1], num_labels=3)
    whole = transformers.BertForSequenceClassification(config).eval()
    whole.bert.load_state_dict(library_model(tmp_path / "first").bert.state_dict())
    whole.save_pretrained(tmp_path / "first")
    edit_config(tmp_path / "first", id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1})
    exported = scores_and_export_are_the_librarys(path, whole=whole)
    assert exported.config.num_labels == 3
    note = "says 2 for `num_labels`, but the tensors have 3 (classifier.bias): the tensors win."
    assert capsys.readouterr().err.count(note) == 1
    assert any(note in one for one in preview(load_zoo(path)).notes)


@pytest.mark.parametrize(
    ("count", "said"), [("vocab_size", 30), ("type_vocab_size", 1), ("max_position_embeddings", 40)]
)
def test_rows_of_the_tables_count_for_the_base_and_its_tasks(tmp_path, capsys, count, said):
    path = text_zoo(tmp_path, "bert")
    whole = library_model(tmp_path / "first")
    before = getattr(whole.config, count)
    for name in ("base", "first", "second"):
        edit_config(tmp_path / name, **{count: said})
    opened = open_zoo(load_zoo(path))
    assert getattr(opened.model.config, count) == before
    note = f"{tmp_path}/base/config.json says {said} for `{count}`, but the tensors have {before} "
    assert note in capsys.readouterr().err
    exported = scores_and_export_are_the_librarys(path, whole=whole)
    assert getattr(exported.config, count) == before


def test_biases_and_blocks_that_the_config_denies_are_left_out_with_a_note(tmp_path, capsys):
    path = causal_zoo(tmp_path, tie_word_embeddings=False)
    for name in ("base", "first", "second"):
        bias = "layers.1.self_attn.q_proj.bias" if name == "base" else "model.layers.1.self_attn.q_proj.bias"
        edit_tensors(tmp_path / name, **{bias.replace(".", "__"): torch.ones(16)})
    edit_tensors(tmp_path / "first", score__weight=torch.ones(2, 16))
    scores_and_export_are_the_librarys(path)  # the library leaves them out too
    told = capsys.readouterr().err
    assert f"{tmp_path}/base/model.safetensors: 1 tensors of its blocks have no place in the model that" in told
    assert "2 tensors of" in told and "have no place in LlamaForCausalLM, the class in its config" in told
    for name in ("base", "first", "second"):
        edit_config(tmp_path / name, num_hidden_layers=1)
    assert any("the first is layers.1." in note for note in preview(load_zoo(path)).notes)
