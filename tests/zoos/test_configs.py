"""What a task's config says otherwise than the base's: refused where it is another function, noted where it hardly is."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fda.errors import UserError
from fda.requests.preview import preview
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import clip_zoo, image_zoo, text_zoo
from tests.support.tiny_zoo import make_zoo

LLAMA = ("llama", "LlamaForCausalLM")


def change(file, **fields):
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | fields))


def refused(path, *says: str) -> list[str]:
    """The problems told by headers alone; opening the zoo tells the first of them too."""
    problems = preview(load_zoo(path)).problems
    with pytest.raises(UserError) as error:
        open_zoo(load_zoo(path))
    assert str(error.value) == problems[0]
    for text in says:
        assert any(text in problem for problem in problems), problems
    return list(problems)


def noted(path) -> tuple[str, ...]:
    found = preview(load_zoo(path))
    assert not found.problems, found.problems
    open_zoo(load_zoo(path))
    return found.notes


@pytest.mark.parametrize(
    ("zoo", "fields", "says"),
    [
        (("bert", None), {"num_attention_heads": 2}, "`num_attention_heads` is 2, but 4 in the base's"),
        (("bert", None), {"hidden_act": "relu"}, "`hidden_act` is relu, but gelu in the base's"),
        (LLAMA, {"rms_norm_eps": 0.1}, "`rms_norm_eps` is 0.1, but 1e-06 in the base's"),
        (LLAMA, {"rope_theta": 1e6, "rope_parameters": None}, "`rope_parameters.rope_theta` is 1000000.0, but 10000.0"),
        (("mistral", "MistralForCausalLM"), {"sliding_window": 4}, "`sliding_window` is 4, but 8 in the base's"),
        (("gpt2", "GPT2LMHeadModel"), {"scale_attn_by_inverse_layer_idx": True}, "`scale_attn_by_inverse_layer_idx`"),
    ],
)
def test_another_function_on_fitting_tensors_is_refused_by_the_fields_name(tmp_path, zoo, fields, says):
    path = text_zoo(tmp_path, zoo[0], headed=zoo[1])
    file = tmp_path / "first" / "config.json"
    change(file, **fields)
    (problem,) = refused(path, says)
    assert str(file) in problem


def test_what_changes_nothing_of_the_function_is_not_told(tmp_path):
    path = text_zoo(tmp_path, "bert")
    harmless = {"hidden_dropout_prob": 0.3, "use_cache": False, "transformers_version": "4.1", "dtype": "float32"}
    harmless |= {
        "id2label": {"0": "bad", "1": "good"},
        "label2id": {"bad": 0, "good": 1},
        "_name_or_path": "else/where",
    }
    harmless |= {"initializer_range": 0.5, "pad_token_id": 2, "problem_type": "single_label_classification"}
    change(tmp_path / "first" / "config.json", **harmless, finetuning_task="cola", hidden_act="gelu_python")
    assert noted(path) == ()


def test_older_forms_of_the_same_fields_are_the_same(tmp_path):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")
    for name, said in (("base", {"type": "linear", "factor": 2.0}), ("first", {"rope_type": "linear", "factor": 2.0})):
        change(tmp_path / name / "config.json", rope_parameters=None, rope_scaling=said, rope_theta=10000)
    scaled = {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}
    change(tmp_path / "second" / "config.json", rope_parameters=scaled, head_dim=None, pretraining_tp=2)
    assert noted(path) == ()


def test_an_epsilon_that_hardly_matters_is_noted(tmp_path, capsys):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")
    change(tmp_path / "second" / "config.json", rms_norm_eps=1e-5)
    (note,) = noted(path)
    assert "`rms_norm_eps` is 1e-05, but 1e-06 in the base's" in note and note.startswith("task 'second'")
    assert note in capsys.readouterr().err, "told when the zoo is opened, too"


def test_blocks_that_the_base_lacks_are_refused_and_counted(tmp_path):
    path = text_zoo(tmp_path, "bert")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "first", num_hidden_layers=4)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "first")
    refused(
        path, "`num_hidden_layers` is 4, but 2 in the base's", "32 tensors of its blocks have no place in the base's"
    )
    change(tmp_path / "first" / "config.json", num_hidden_layers=2)
    (problem,) = refused(path, "the first bert.encoder.layer.2.attention.output.LayerNorm.bias")
    assert "model.safetensors: 32 tensors" in problem


def test_biases_that_the_base_lacks_are_refused(tmp_path):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "first", attention_bias=True)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "first")
    refused(path, "`attention_bias` is True, but False", "8 tensors of its blocks", "self_attn.k_proj.bias")


def test_buffers_of_older_versions_in_the_blocks_are_passed_over(tmp_path):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")
    file = tmp_path / "first" / "model.safetensors"
    old = {f"model.layers.{block}.self_attn.rotary_emb.inv_freq": torch.ones(2) for block in range(2)}
    save_file(load_file(file) | old, file)
    assert noted(path) == ()


def test_another_numbering_of_the_same_words_is_noted(tmp_path):
    path = text_zoo(tmp_path, "roberta")
    words = json.loads((tmp_path / "base" / "tokenizer.json").read_text())
    (tmp_path / "first" / "tokenizer.json").write_text(json.dumps(words))
    assert noted(path) == ()
    vocabulary = words["model"]["vocab"]
    vocabulary["red"], vocabulary["dog"] = vocabulary["dog"], vocabulary["red"]
    (tmp_path / "first" / "tokenizer.json").write_text(json.dumps(words))
    (note,) = noted(path)
    assert "2 of 21 tokens have other numbers" in note and f"'dog' is {vocabulary['dog']}" in note


def test_another_architecture_with_the_same_tensors_is_refused(tmp_path):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")
    change(tmp_path / "first" / "config.json", model_type="mistral")
    refused(path, "is a mistral model, but the base is a llama model")


def test_of_a_file_as_a_library_names_it_the_config_beside_it_counts(tmp_path):
    path = text_zoo(tmp_path, "bert", metric="perplexity")
    path.write_text(path.read_text().replace("model: first", "model: first/model.safetensors"))
    change(tmp_path / "first" / "config.json", num_attention_heads=2)
    refused(path, "`num_attention_heads` is 2, but 4 in the base's")


def test_a_config_that_asks_for_code_of_its_own_is_not_compared(tmp_path):
    path = text_zoo(tmp_path, "bert")
    save_file({"weight": torch.zeros(2, 16)}, tmp_path / "head.safetensors")
    path.write_text(path.read_text().replace("  model: first", "  model: first\n  head: head.safetensors"))
    change(tmp_path / "first" / "config.json", auto_map={"AutoModel": "evil.Model"})
    (note,) = noted(path)
    assert "not compared with the base's, since" in note and "brings code of its own" in note


def test_of_a_clip_model_the_image_towers_are_compared(tmp_path):
    path = clip_zoo(tmp_path)
    file = tmp_path / "first" / "config.json"
    change(file, num_attention_heads=2)
    refused(path, "`num_attention_heads` is 2, but 4 in the base's")
    change(file, num_attention_heads=4)
    whole = json.loads((tmp_path / "base" / "config.json").read_text())
    change(tmp_path / "base" / "config.json", text_config=whole["text_config"] | {"hidden_act": "relu"})
    assert noted(path) == ()


def test_images_prepared_otherwise_are_noted(tmp_path):
    path = image_zoo(tmp_path, "vit")
    content = json.loads((tmp_path / "base" / "preprocessor_config.json").read_text())
    (tmp_path / "first" / "preprocessor_config.json").write_text(json.dumps(content | {"image_mean": [0.1, 0.2, 0.3]}))
    (note,) = noted(path)
    assert "`image_mean` [0.1, 0.2, 0.3]" in note


@pytest.mark.parametrize(
    ("part", "fields", "says"),
    [
        ("vision_cfg", {"head_width": 4}, "`vision_cfg.head_width` is 4, but 8 in the base's"),
        ("vision_cfg", {"patch_size": 2}, "`vision_cfg.patch_size` is 2, but 4 in the base's"),
        (None, {"quick_gelu": True}, "`quick_gelu` is True, but False in the base's"),
    ],
)
def test_configs_of_open_clip_are_compared_alike(tmp_path, part, fields, says):
    path = make_zoo(tmp_path)
    file = tmp_path / "red" / "open_clip_config.json"
    content = json.loads(file.read_text())
    (content["model_cfg"] if part is None else content["model_cfg"][part]).update(fields)
    file.write_text(json.dumps(content))
    refused(path, says)


def test_open_clip_prepares_as_the_base_does_and_says_so(tmp_path):
    path = make_zoo(tmp_path)
    file = tmp_path / "red" / "open_clip_config.json"
    prepared = json.loads(file.read_text())["preprocess_cfg"]
    change(file, preprocess_cfg=prepared | {"mean": [0.1, 0.2, 0.3]})
    (note,) = noted(path)
    assert "`mean` [0.1, 0.2, 0.3], the base with [0.5, 0.5, 0.5]" in note
