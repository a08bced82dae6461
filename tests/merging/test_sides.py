"""A network merges to the same function whichever way around its layers keep their weights: GPT-2, and GPT-2 in nn.Linear."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from fda.architectures.linears import in_by_out, linear_moments
from fda.architectures.transformer_blocks import transformer_blocks
from fda.architectures.transformers_build import give_memory
from fda.cancel import NEVER
from fda.checkpoints.weights import Checkpoint
from fda.merging.merge import merge, merge_to_file
from fda.merging.registry import METHODS
from fda.merging.sweep import unit_update_to_file
from fda.requests.runs import make_spec
from fda.stages.execute import execute
from fda.store.files import merged_file
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.heads import task_head
from fda.tasks.task_inputs import AnchorMoments, RealInputs
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import text_zoo

QUICK = {
    "adamerging": {"steps": 3},
    "adamerging_layer": {"steps": 3},
    "fisher": {"examples": 4},
    "wudi": {"lr": 1e-3, "steps": 20},
    "model_stock": {},
}
NAMES = [name for name, one in METHODS.items() if one.merge is not None and not one.swept]


def with_linear_layers(module: nn.Module) -> nn.Module:
    """The same network, each Conv1D in it an nn.Linear."""
    made = deepcopy(module)
    for name, part in list(made.named_modules()):
        if isinstance(part, Conv1D):
            own = nn.Linear(part.nx, part.nf)
            own.weight.data, own.bias.data = part.weight.data.T.contiguous(), part.bias.data
            made.get_submodule(name.rpartition(".")[0])._modules[name.rpartition(".")[2]] = own
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """(GPT-2 opened, what is merged of it), and the same in nn.Linear; weights, inputs and anchors of two tasks."""
    opened = open_zoo(load_zoo(text_zoo(tmp_path_factory.mktemp("gpt2"), "gpt2")))
    turn = opened.model.in_by_out
    assert len(turn) == 8 and all(name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) for name in turn)
    give_memory(opened.model.module)
    linear = with_linear_layers(opened.model.module)
    models = opened.model, replace(opened.model, module=linear, blocks=transformer_blocks(linear))
    assert not models[1].in_by_out
    plain = [opened.base, *opened.tasks.values()]
    turned = [{name: one[name].T.contiguous() if name in turn else one[name] for name in one} for one in plain]
    anchors = torch.randn(12, 3, 16, generator=torch.Generator().manual_seed(0))
    sides = []
    for model, (base, *finetuned) in zip(models, (plain, turned), strict=True):
        inputs = {"inputs": [], "anchors": [], "labels": [], "nothing": None}
        for name, own in zip(opened.tasks, finetuned, strict=True):
            split = load_split(opened.zoo.task(name), "train", opened.model.transform)
            inputs["inputs"].append(RealInputs(model, own, task_head(opened, name), split))
            inputs["anchors"].append(AnchorMoments(model.blocks, own, [anchors] * len(model.blocks)))
        sides.append((model, base, finetuned, inputs))
    return sides


@pytest.mark.parametrize("name", NAMES)
def test_a_method_makes_the_same_network_of_both(networks, name):
    method, found = METHODS[name], []
    for model, base, finetuned, inputs in networks:
        chosen = finetuned[: method.tasks or len(finetuned)]
        found.append(
            merge(method, base, chosen, inputs=inputs[method.needs], in_by_out=model.in_by_out, **QUICK.get(name, {}))
        )
    gpt2, linear = found
    turn = networks[0][0].in_by_out
    for key, tensor in gpt2.items():
        assert torch.allclose(tensor.T if key in turn else tensor, linear[key], atol=2e-5), key
    ids = torch.arange(5, 17).reshape(2, 6)
    hidden = []
    for (model, *_), weights in zip(networks, found, strict=True):
        hidden.append(model.load(weights)(input_ids=ids).last_hidden_state)
    assert torch.allclose(*hidden, atol=1e-3)


@pytest.mark.parametrize("name", ["regmean", "regmean:anchors"])
def test_the_linear_layers_are_not_averaged(networks, name):
    model, base, finetuned, inputs = networks[0]
    average = merge(METHODS["average"], base, finetuned)
    own = merge(METHODS[name], base, finetuned, inputs=inputs[METHODS[name].needs], in_by_out=model.in_by_out)
    same = {key for key in own if torch.allclose(own[key], average[key], atol=1e-6)}
    assert not same & model.in_by_out


def test_moments_are_of_what_enters_the_layer():
    layer, x = Conv1D(3, 5), torch.randn(7, 5)
    assert in_by_out(nn.Sequential(layer, nn.Linear(3, 2))) == {"0.weight"}
    assert torch.allclose(linear_moments(layer, lambda: layer(x))["weight"], x.T @ x / 7, atol=1e-6)


def test_files_of_merged_and_swept_models_are_the_same_way_around(networks, tmp_path):
    model, base, finetuned, _ = networks[0]
    expected = merge(METHODS["iso_cts"], base, finetuned, in_by_out=model.in_by_out)
    merge_to_file(METHODS["iso_cts"], base, finetuned, tmp_path / "a.safetensors", {}, in_by_out=model.in_by_out)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in Checkpoint(tmp_path / "a.safetensors").items())
    unit_update_to_file(METHODS["iso_cts"], base, finetuned, tmp_path / "b.safetensors", in_by_out=model.in_by_out)
    update = Checkpoint(tmp_path / "b.safetensors")
    assert all(torch.allclose(base[name] + update[name], expected[name], atol=1e-6) for name in update)


def test_a_run_merges_as_the_model_keeps_its_weights(tmp_path):
    path, store = text_zoo(tmp_path, "gpt2"), Store()
    methods = ("wudi", "iso_cts:swept")
    run_id = store.create_run(make_spec(with_validation(path), methods=methods, device="cpu"))
    execute(store, run_id, NEVER)
    opened = open_zoo(load_zoo(path))
    settings = {row.method: row.settings for row in store.results(run_id)[0]}
    for name in methods:
        method = METHODS[name.removesuffix(":swept")]
        own = {one: settings[name][one] for one in method.defaults}
        turn, finetuned = opened.model.in_by_out, list(opened.tasks.values())
        expected = merge(method, opened.base, finetuned, in_by_out=turn, **own)
        for key, tensor in Checkpoint(merged_file(store.run_dir(run_id), name)).items():
            assert torch.allclose(tensor, expected[key], atol=1e-6), (name, key)


def with_validation(path):
    path.write_text(path.read_text().replace("split: test", "split: test\n    validation_split: train"))
    return path
