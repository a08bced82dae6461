"""Train the demo's models on the CPU: pretrain one on all problems, then finetune the blocks of a copy of it for each task.

The tasks are among the problems, so each has its head from pretraining. Only image encoders are trained; the text towers stay
random and unused. Takes prepared tensors, returns models and heads; reads and writes no file.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fda.demo import recipe

BLOCKS = "visual.transformer.resblocks."


@dataclass(frozen=True)
class Labelled:
    """images (n, 3, 32, 32) after the model's transform; labels (n,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Problem:
    """A head's name, its number of classes and its training data."""

    name: str
    classes: int
    data: Labelled


def new_model() -> open_clip.CLIP:
    return open_clip.CLIP(**recipe.MODEL_CONFIG["model_cfg"])


def logits(model: open_clip.CLIP, head: Tensor, images: Tensor) -> Tensor:
    """Cosine head: images (b, 3, h, w), head (classes, features) -> (b, classes)."""
    return recipe.LOGIT_SCALE * model.encode_image(images, normalize=True) @ F.normalize(head, dim=-1).T


@torch.no_grad()
def accuracy(model: open_clip.CLIP, head: Tensor, data: Labelled) -> float:
    model.eval()
    return (logits(model, head, data.images).argmax(-1) == data.labels).float().mean().item()


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every square picture of the batch by up to two pixels each way, repeating its edge."""
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    rows, columns = torch.randint(0, 5, (2, len(images), 1), generator=generator) + torch.arange(images.shape[-1])
    which = torch.arange(len(images))[:, None, None]
    return padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    return iter(torch.randperm(count, generator=generator).split(recipe.BATCH))


def optimiser(
    parameters: list[nn.Parameter], lr: float, decay: float, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    adamw = torch.optim.AdamW(parameters, lr=lr, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adamw, lr, total_steps=steps, pct_start=0.1)
    return adamw, schedule


def pretrain(problems: list[Problem], seed: int) -> tuple[open_clip.CLIP, dict[str, Tensor]]:
    """Train a new model on batches of all problems in random order; return it with each problem's head."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = new_model()
    features = recipe.MODEL_CONFIG["model_cfg"]["embed_dim"]
    heads = nn.ParameterDict({p.name: nn.Parameter(torch.randn(p.classes, features) / features**0.5) for p in problems})
    steps = recipe.PRETRAIN_EPOCHS * sum(-(-len(p.data.labels) // recipe.BATCH) for p in problems)
    adamw, schedule = optimiser(
        [*model.visual.parameters(), *heads.parameters()], recipe.PRETRAIN_LR, recipe.PRETRAIN_WEIGHT_DECAY, steps
    )
    model.train()
    for _ in range(recipe.PRETRAIN_EPOCHS):
        work = [(p, rows) for p in problems for rows in batches(len(p.data.labels), generator)]
        for i in torch.randperm(len(work), generator=generator).tolist():
            problem, rows = work[i]
            images = jitter(problem.data.images[rows], generator)
            loss = F.cross_entropy(logits(model, heads[problem.name], images), problem.data.labels[rows])
            adamw.zero_grad()
            loss.backward()
            adamw.step()
            schedule.step()
    return model, {name: head.detach().clone() for name, head in heads.items()}


def finetune(pretrained: dict[str, Tensor], head: Tensor, data: Labelled, seed: int) -> open_clip.CLIP:
    """A copy of the pretrained model (a state dict) with its blocks trained on `data`, the only tensors that anchors reach.

    `head`: the task's, from pretraining, (classes, features). It and every other tensor stay as they were.
    """
    generator = torch.Generator().manual_seed(seed)
    model = new_model()
    model.load_state_dict(pretrained)
    blocks = [parameter for name, parameter in model.named_parameters() if name.startswith(BLOCKS)]
    steps = recipe.FINETUNE_EPOCHS * -(-len(data.labels) // recipe.BATCH)
    adamw, schedule = optimiser(blocks, recipe.FINETUNE_LR, recipe.FINETUNE_WEIGHT_DECAY, steps)
    model.requires_grad_(False)
    for parameter in blocks:
        parameter.requires_grad_(True)
    model.train()
    for _ in range(recipe.FINETUNE_EPOCHS):
        for rows in batches(len(data.labels), generator):
            loss = F.cross_entropy(logits(model, head, jitter(data.images[rows], generator)), data.labels[rows])
            adamw.zero_grad()
            loss.backward()
            adamw.step()
            schedule.step()
    return model
