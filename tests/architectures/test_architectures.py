"""Every class with a head that transformers has: it runs with the library's logits, or one sentence says why not."""

from pathlib import Path

import pytest
import torch
import transformers

from tests.support import architectures

DOCUMENT = Path(__file__).parents[2] / "docs" / "architectures.md"
# Of every form that a base model, its blocks, its head and its names take.
SOME = [
    ("vit", "ViTForImageClassification"),
    ("beit", "BeitForImageClassification"),
    ("deit", "DeiTForImageClassificationWithTeacher"),
    ("data2vec-vision", "Data2VecVisionForImageClassification"),
    ("siglip", "SiglipForImageClassification"),
    ("albert", "AlbertForSequenceClassification"),
    ("electra", "ElectraForSequenceClassification"),
    ("modernbert", "ModernBertForSequenceClassification"),
    ("xlm-roberta", "XLMRobertaForSequenceClassification"),
    ("canine", "CanineForSequenceClassification"),
    ("deberta-v2", "DebertaV2ForSequenceClassification"),
    ("t5", "T5ForSequenceClassification"),
    ("bert", "BertLMHeadModel"),
    ("roberta", "RobertaForCausalLM"),
    ("opt", "OPTForCausalLM"),
    ("opt", "OPTForSequenceClassification"),
    ("gpt_neox", "GPTNeoXForCausalLM"),
    ("phi", "PhiForCausalLM"),
    ("phi3", "Phi3ForCausalLM"),
    ("qwen3", "Qwen3ForCausalLM"),
    ("gemma2", "Gemma2ForCausalLM"),
    ("gemma3_text", "Gemma3ForCausalLM"),
    ("olmo2", "Olmo2ForCausalLM"),
    ("mpt", "MptForCausalLM"),
    ("mixtral", "MixtralForCausalLM"),
    ("gpt_oss", "GptOssForCausalLM"),
    ("llama4_text", "Llama4ForCausalLM"),
    ("xlnet", "XLNetLMHeadModel"),
]
KINDS = {(model_type, name): kind for model_type, name, kind in architectures.classes()}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.mark.parametrize(("model_type", "name"), SOME)
def test_it_does_what_the_document_says(tmp_path, model_type, name):
    found = architectures.outcome(model_type, name, KINDS[model_type, name], tmp_path)
    assert found is not None
    assert architectures.documented(DOCUMENT.read_text())[model_type, name] == architectures.cell(found)


def test_the_document_names_every_class_of_the_library():
    text = DOCUMENT.read_text()
    assert f"transformers {transformers.__version__} " in text
    assert [name for _, name in KINDS if name not in text] == []


@pytest.mark.architectures
def test_every_class_runs_or_says_why_not_and_the_document_is_made_anew(tmp_path):
    outcomes = {
        (model_type, name, kind): architectures.outcome(model_type, name, kind, tmp_path / f"{model_type} {name}")
        for model_type, name, kind in architectures.classes()
    }
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(architectures.document(outcomes), encoding="utf-8")
    assert sum(found == "runs" for found in outcomes.values()) >= 160
