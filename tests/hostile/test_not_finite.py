"""NaN and infinity in any tensor of a zoo: named by file, tensor and task before any number is computed from them."""

import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fda.architectures.transforms import TextBatch
from fda.checkpoints.weights import Checkpoint
from fda.errors import Misfit, UserError
from fda.merging.merge import merge, merge_to_file
from fda.merging.registry import METHODS
from fda.requests.runs import make_spec
from fda.stages.execute import check_spec
from fda.stages.worker import run_here
from fda.store.store import Store
from fda.tasks.evaluate import NoNumbers, all_finite, evaluate, next_tokens
from fda.zoos import finite
from fda.zoos.finite import looked_at, not_finite, require_finite
from fda.zoos.survey import open_zoo, survey
from fda.zoos.zoo import load_zoo
from tests.support import library_zoos

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A zoo of two ViT models whose tensors are all finite."""
    return library_zoos.image_zoo(tmp_path_factory.mktemp("whole"), "vit")


@pytest.fixture
def zoo(whole, tmp_path, fda_home):
    shutil.copytree(whole.parent, tmp_path / "zoo")
    return tmp_path / "zoo" / "zoo.yaml"


def spoil(zoo, where: str, value: float, model: str = "first", dtype: torch.dtype | None = None) -> tuple[str, int]:
    """Put a value into the first tensor of a model whose name holds `where`; its name and count of values."""
    path = zoo.parent / model / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if where in name)
    tensors[name] = tensors[name].to(dtype or tensors[name].dtype)
    tensors[name].view(-1)[1] = value
    save_file(tensors, path, {"format": "pt"})
    return name, tensors[name].numel()


PLACES = [
    ("first", "layer.0.attention.attention.key.weight", NAN),
    ("first", "layer.1.output", INF),
    ("first", "embeddings.cls_token", INF),
    ("first", "layernorm.bias", -INF),
    ("first", "classifier.weight", NAN),
    ("first", "classifier.bias", INF),
    ("base", "embeddings", NAN),
]


@pytest.mark.parametrize(("model", "where", "value"), PLACES)
def test_a_value_that_is_not_finite_is_named_by_file_tensor_and_task(zoo, model, where, value):
    name, count = spoil(zoo, where, value, model)
    kind = "NaN" if np.isnan(value) else "infinite"
    whose = "of the base" if model == "base" else "of task 'first'"
    told = (
        f"{zoo.parent / model / 'model.safetensors'}: tensor {name} holds values that are not finite (1 {kind} of {count:,}), "
        f"{whose}: copy or download the file again, or give another."
    )
    opened = open_zoo(load_zoo(zoo))
    for look in (
        lambda: require_finite(opened),
        lambda: survey(load_zoo(zoo), str(zoo)),
        lambda: check_spec(make_spec(zoo, methods=("ta",)), opened),
    ):
        with pytest.raises(Misfit, match=f"^{re.escape(told)}$"):
            look()


def test_a_run_of_the_other_task_alone_is_not_hindered(zoo):
    spoil(zoo, "classifier", NAN)
    spec = make_spec(zoo, tasks=("second",), methods=("ta",))
    check_spec(spec, open_zoo(spec.zoo, spec.tasks))


def test_a_head_file_is_looked_at_bias_and_scale_too(tiny_zoo, tmp_path, fda_home):
    loaded = load_zoo(tiny_zoo)
    head = load_file(loaded.tasks[0].head)
    for name, value in (("bias", torch.tensor([0.0, INF])), ("logit_scale", torch.tensor(NAN, dtype=torch.float16))):
        path = tmp_path / f"{name}.safetensors"
        save_file({"weight": head["weight"].half(), name: value}, path)
        tasks = (loaded.tasks[0].model_copy(update={"head": str(path)}), *loaded.tasks[1:])
        with pytest.raises(Misfit, match=f"{path}: tensor {name} holds .*, the head of task '{tasks[0].name}': copy"):
            require_finite(open_zoo(loaded.model_copy(update={"tasks": tasks})))


def test_what_nothing_reads_is_a_note(zoo):
    """Masks that older libraries saved hold infinity on purpose."""
    path = zoo.parent / "first" / "model.safetensors"
    save_file(load_file(path) | {"vit.masked_bias": torch.tensor([-INF])}, path, {"format": "pt"})
    (note,) = require_finite(open_zoo(load_zoo(zoo))).notes
    assert note == (
        f"{path}: tensor vit.masked_bias holds values that are not finite (1 infinite of 1), of task 'first'; it is not used "
        "here."
    )


def test_all_tensors_are_counted_and_read_once_until_a_file_changes(zoo, monkeypatch):
    opened = open_zoo(load_zoo(zoo))
    files = [load_file(zoo.parent / name / "model.safetensors") for name in ("base", "first", "second")]
    read = []
    monkeypatch.setattr(finite, "looked_at", lambda name, tensor: read.append(name) or looked_at(name, tensor))
    found = require_finite(opened)
    assert (found.tensors, found.values) == (
        sum(map(len, files)),
        sum(tensor.numel() for file in files for tensor in file.values()),
    )
    assert len(read) == found.tensors
    require_finite(open_zoo(load_zoo(zoo)))
    assert len(read) == found.tensors, "what was read before is not read again"
    name, _ = spoil(zoo, "classifier.weight", NAN)
    with pytest.raises(Misfit, match=name):
        require_finite(open_zoo(load_zoo(zoo)))
    assert len(read) == found.tensors + len(files[1]), "only the changed file is read again"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn])
def test_every_kind_of_number_is_looked_at(dtype):
    whole = torch.ones(3, 4).to(dtype)
    assert looked_at("one", whole) is None
    assert looked_at("none", torch.empty(0, 4).to(dtype)) is None
    broken = torch.tensor([1.0, NAN, NAN]).to(dtype)
    assert str(looked_at("one", broken)) == "tensor one holds values that are not finite (2 NaN of 3)"


def test_a_cache_that_was_tampered_with_is_read_anew(zoo, fda_home):
    weights = Checkpoint(zoo.parent / "first")
    assert not_finite(weights) == ()
    (kept,) = (fda_home / "cache" / "finite").iterdir()
    for text in ("", "{", "[1]", '[{"name": 1}]', '{"a": 1}'):
        kept.write_text(text)
        assert not_finite(weights) == ()


def test_a_merged_tensor_that_overflows_is_refused_with_its_method(tmp_path):
    states = [{"w": torch.full((2, 2), value, dtype=torch.float16)} for value in (1.0, 60000.0, 60000.0)]
    told = r"^ta: of the merged model, tensor w holds values that are not finite \(4 infinite of 4\) as float16: lower"
    with pytest.raises(UserError, match=told):
        merge(METHODS["ta"], states[0], states[1:], scale=1.0)
    with pytest.raises(UserError, match=told):
        merge_to_file(METHODS["ta"], states[0], states[1:], tmp_path / "ta.safetensors", {}, scale=1.0)
    assert not list(tmp_path.iterdir())
    assert merge(METHODS["ta"], states[0], states[1:], scale=0.5)["w"][0, 0] == 60000.0


@pytest.mark.parametrize("name", sorted(name for name, one in METHODS.items() if one.merge and one.needs == "nothing"))
def test_every_method_refuses_a_finetuned_tensor_that_is_not_finite(name):
    torch.manual_seed(0)
    base = {"blocks.0.w.weight": torch.randn(4, 4), "blocks.0.b": torch.randn(4)}
    tasks = [{key: tensor + torch.randn_like(tensor) for key, tensor in base.items()} for _ in range(2)]
    tasks[1]["blocks.0.w.weight"][2, 2] = NAN
    if name == "pretrained":
        merge(METHODS[name], base, tasks)
        return
    with pytest.raises(UserError, match=r"blocks\.0\.w\.weight holds values that are not finite \(1 NaN of 16\)"):
        merge(METHODS[name], base, tasks)


class OneBad:
    """A head whose answer to samples 1 and 2 of each batch is no number."""

    causal = False

    def __init__(self, head):
        self.head = head

    def to(self, device):
        return self

    @property
    def fingerprint(self):
        return "one bad"

    def answer(self, model, batch):
        logits = self.head.answer(model, batch).clone()
        logits[1, 0], logits[2, 1] = NAN, INF
        return logits


def test_no_score_is_made_of_a_logit_that_is_no_number(zoo, monkeypatch):
    from fda.stages import splits
    from fda.tasks.data import load_split
    from fda.tasks.heads import task_head

    opened = open_zoo(load_zoo(zoo))
    split = load_split(opened.zoo.task("first"), "test", opened.model.transform)
    opened.model.load(opened.base)
    with pytest.raises(
        NoNumbers, match="^2 of 24 samples have a logit that is NaN or infinite: look for the tensor with"
    ):
        evaluate(opened.model, OneBad(task_head(opened, "first")), split)

    def heads(opened, name):
        return OneBad(task_head(opened, name)) if name == "first" else task_head(opened, name)

    monkeypatch.setattr(splits, "task_head", heads)
    store = Store()
    run_id = store.create_run(make_spec(zoo, methods=("ta",), device="cpu"))
    assert run_here(store, run_id) == "failed"
    results, scores = store.results(run_id)
    assert not scores
    assert {one.method: one.message.split(":")[:2] for one in results}["ta"] == [
        "ta, task 'first'",
        " 2 of 24 samples have a logit that is NaN or infinite, so nothing is scored",
    ]


def test_next_tokens_are_looked_at_where_the_text_is_and_not_on_its_padding():
    ids, mask = torch.zeros(2, 3, dtype=torch.long), torch.tensor([[True, True, True], [True, True, False]])
    logits = torch.zeros(2, 3, 5)
    logits[1, 2, 0] = NAN
    mask[1, 1] = True
    assert all_finite(logits, TextBatch(ids, mask)).tolist() == [True, True]
    assert [one.isfinite().all().item() for one in next_tokens(logits, TextBatch(ids, mask))] == [True, True, True]
    logits[1, 1, 0] = NAN
    assert all_finite(logits, TextBatch(ids, mask)).tolist() == [True, False]
