"""Refuse keys of a zoo file that would have no effect, because their author expects one.

Checks the keys in the file, not the fields of the validated zoo, which include defaults.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fda.settings import ONLY_LORA, AdaptSettings, FinetuneSettings, finetune_settings

EPOCHS = ("weights_epochs", "coefficients_epochs")


def unused_key(content: Mapping[str, Any]) -> str | None:
    """Return the end of a sentence on the first key without effect in an otherwise valid zoo, or None."""
    for index, task in enumerate(content["tasks"]):
        at = f"the field `tasks.{index}"
        data, head = task.get("data") or {}, task.get("head")
        if "seed" in data and data.get("samples") is None and "[" not in "".join(_splits(data)):
            return f"{at}.data.seed` draws nothing: give `samples`, or a part of a split, such as train[90%:], or leave it out"
        if "label" in data and data.get("metric") == "perplexity":
            return f"{at}.data.label` is not read, as perplexity needs none: leave it out"
        if "new_tokens" in data and data.get("metric") != "final_answer":
            return f"{at}.data.new_tokens` is read for `metric: final_answer` alone: leave it out"
        if isinstance(head, Mapping) and (plain := _without_braces(head["zero_shot"]["templates"])) is not None:
            return f"{at}.head.zero_shot.templates` has {plain!r}, where no class name goes in: write {{}} where it belongs"
    return _adapt(content.get("adapt") or {}) or _finetune(content)


def _splits(data: Mapping[str, Any]) -> list[str]:
    return [str(data[name]) for name in ("split", "validation_split", "train_split") if data.get(name)]


def _without_braces(templates: Any) -> str | None:
    return next((template for template in templates if "{}" not in template), None)


def _adapt(adapt: Mapping[str, Any]) -> str | None:
    for name in adapt:
        if name not in (*AdaptSettings.model_fields, "epochs", "preset"):
            known = ", ".join(AdaptSettings.model_fields)
            return f"the field `adapt.{name}` is no adaptation setting: there are {known}"
    if {"epochs", *EPOCHS} <= adapt.keys():
        return f"the field `adapt.epochs` stands for {' and '.join(EPOCHS)}, which are there too: leave it out"
    return None


def _finetune(content: Mapping[str, Any]) -> str | None:
    whole = content.get("finetune") or {}
    parts = [("finetune", whole, whole)]
    for index, task in enumerate(content["tasks"]):
        task_fields = task.get("finetune") or {}
        if "head" in task_fields and task.get("head") is not None and not task.get("model"):  # training fills both in
            return f"the field `tasks.{index}.finetune.head` is not read, as the task names its head: leave one out"
        parts.append((f"tasks.{index}.finetune", task_fields, {**whole, **task_fields}))
    for at, fields, together in parts:
        for name in fields:
            if name not in FinetuneSettings.model_fields:
                known = ", ".join(FinetuneSettings.model_fields)
                return f"the field `{at}.{name}` is no setting of finetuning: there are {known}"
        try:
            settings = finetune_settings(content.get("family", "vision"), together)
        except ValidationError as error:
            problem = error.errors()[0]
            return f"the field `{at}.{problem['loc'][0]}` is wrong: {problem['msg'][0].lower()}{problem['msg'][1:]}"
        for name in ONLY_LORA:
            if name in fields and settings.trained != "lora":
                return f"the field `{at}.{name}` is read with `trained: lora` only: leave it out"
    return None
