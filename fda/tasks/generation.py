"""Texts that a causal language model writes, greedily, and the final answer in them.

The library's own `generate` writes, with its cache of keys and values: the checkpoint's class around the weights in use.
"""

import re
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from fda.architectures.model import Model
from fda.architectures.supply import text_positions
from fda.architectures.transforms import TextBatch, TextTransform
from fda.cancel import NEVER, Cancel
from fda.tasks.own_heads import OwnHead

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


@torch.no_grad()
def generated(
    model: Model,
    head: OwnHead,
    batch: TextBatch,
    transform: TextTransform,
    tokens: int,
    *,
    one_line: bool = False,
    device: str = "cpu",
    cancel: Cancel = NEVER,
) -> list[str]:
    """The continuation of each prompt, stripped: the likeliest token each time, up to the end mark or `tokens` tokens.

    `one_line`: up to the end of its first line. A text also ends where the model has no further positions. The end mark that
    a tokenizer appends to a prompt is removed. UserError if a logit is not finite; `cancel` is checked after each token.
    """
    tokenizer, end = transform.tokenizer, transform.tokenizer.eos_token_id
    prompts = [row[mask] for row, mask in zip(batch.ids, batch.mask, strict=True)]
    prompts = [ids[:-1] if len(ids) > 1 and ids[-1] == end else ids for ids in prompts]
    writer, positions = head.writer(model), text_positions(model.module)
    room = [tokens if positions is None else min(tokens, positions - len(ids)) for ids in prompts]
    # A prompt with less room than the others is continued alone: what is written to one depends on no other.
    whole = [row for row in range(len(prompts)) if room[row] == tokens]
    groups = ([whole] if whole else []) + [[row] for row in range(len(prompts)) if 0 < room[row] < tokens]
    texts = [""] * len(prompts)
    for rows in groups:
        ids, mask = _padded([prompts[row] for row in rows], transform.padding)
        start = ids.shape[1]
        written = cast(Any, writer).generate(  # from a mixin that transformers does not declare on its classes
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            do_sample=False,
            num_beams=1,
            max_new_tokens=room[rows[0]],
            eos_token_id=end,
            pad_token_id=transform.padding if end is None else end,
            logits_processor=LogitsProcessorList([_Finite()]),
            stopping_criteria=StoppingCriteriaList([_Stop(tokenizer, start, one_line, cancel)]),
        )
        for row, text in zip(rows, tokenizer.batch_decode(written[:, start:], skip_special_tokens=True), strict=True):
            texts[row] = text.strip().split("\n")[0].strip() if one_line else text.strip()
    return texts


def _padded(prompts: Sequence[Tensor], padding: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask, each (b, longest) int64: padded on the left, so that every prompt ends where writing begins."""
    longest = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), longest), padding)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


def final_answer(text: str) -> str | None:
    """The last number of a text, as GSM8K is scored: without thousands' commas and a fraction of zeros; None without one.

    Cobbe et al., 2110.14168, write it behind `####`; models write it in a sentence at the end.
    """
    numbers = _NUMBER.findall(text.rpartition("####")[2])
    if not numbers:
        return None
    number = numbers[-1].replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


class _Finite(LogitsProcessor):
    """Refuses logits that are NaN or infinite, of which the library would take the first token."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if wrong := int((~scores.isfinite().all(dim=-1)).sum()):
            from fda.tasks.evaluate import NoNumbers

            raise NoNumbers(wrong, len(scores))
        return scores


class _Stop(StoppingCriteria):
    """Bool (b,): whose first line has ended, if `one_line`; checks `cancel` at each token."""

    def __init__(self, tokenizer: Any, start: int, one_line: bool, cancel: Cancel) -> None:
        self.tokenizer, self.start, self.one_line, self.cancel = tokenizer, start, one_line, cancel

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        self.cancel.check()
        if not self.one_line:
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        texts = self.tokenizer.batch_decode(input_ids[:, self.start :])
        return torch.tensor(["\n" in text.lstrip() for text in texts], device=input_ids.device)
