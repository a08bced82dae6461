"""A sample as a model takes it: an image through the checkpoint's own transform, a text through its own tokenizer.

What a sample's columns are called, and where samples come from, is left to `fda.tasks.data`. Nothing is downloaded and no code
of a checkpoint is run: processors and tokenizers are those that the installed libraries have built in.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from PIL.Image import Image
from torch import Tensor

from fda.errors import UserError, first_line

MOST_TOKENS = 512  # a text is cut there, or earlier where the model or its tokenizer says so
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
)
IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class TextBatch:
    """Texts of one batch: token ids (b, t) int64, `mask` (b, t) bool that is false on padding, segments (b, t) or None."""

    ids: Tensor
    mask: Tensor
    segments: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> torch.Size:
        return self.ids.shape

    def to(self, device: str | torch.device) -> "TextBatch":
        return TextBatch(*(one if one is None else one.to(device) for one in (self.ids, self.mask, self.segments)))


Batch = Tensor | TextBatch  # images: (b, 3, height, width)


class Transform(ABC):
    """`transform(sample)` prepares one sample; `batch` puts prepared samples together; `identity` changes when it does."""

    kind: Literal["image", "text"]
    identity: str

    @abstractmethod
    def __call__(self, sample: Any) -> Tensor: ...

    @abstractmethod
    def batch(self, prepared: Sequence[Tensor]) -> Batch: ...


@dataclass(frozen=True)
class ImageTransform(Transform):
    """`prepare`: an RGB image → (3, height, width)."""

    prepare: Callable[[Image], Tensor]
    identity: str
    kind = "image"

    def __call__(self, sample: Image) -> Tensor:
        return self.prepare(sample.convert("RGB"))

    def batch(self, prepared: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(prepared))


@dataclass(frozen=True)
class TextTransform(Transform):
    """`tokenizer`: as transformers loads it; `most`: tokens a text is cut to; `padding`: id that fills a batch up."""

    tokenizer: Any
    most: int
    padding: int
    identity: str
    segmented: bool
    kind = "text"

    def __call__(self, sample: str | tuple[str, ...]) -> Tensor:
        """(t, 2) int64: token ids and segments. Of a pair, the longer text is cut first."""
        texts = (sample,) if isinstance(sample, str) else sample
        made = self.tokenizer(*texts, truncation=True, max_length=self.most, return_token_type_ids=True)
        ids = made["input_ids"] or [self.padding]  # an empty text, where the tokenizer marks no beginning
        segments = made.get("token_type_ids") or [0] * len(ids)
        return torch.tensor([ids, segments], dtype=torch.int64).T

    def batch(self, prepared: Sequence[Tensor]) -> TextBatch:
        """Padded on the right, so that what a causal model sees of a text does not depend on its neighbours."""
        longest = max(len(one) for one in prepared)
        filled = torch.zeros(len(prepared), longest, 2, dtype=torch.int64)
        filled[..., 0] = self.padding
        mask = torch.zeros(len(prepared), longest, dtype=torch.bool)
        for row, one in enumerate(prepared):
            filled[row, : len(one)] = one
            mask[row, : len(one)] = True
        return TextBatch(filled[..., 0].clone(), mask, filled[..., 1].clone() if self.segmented else None)


def checkpoint_transform(
    folders: Sequence[Path], config: Any, *, images: bool, positions: int | None, segmented: bool
) -> Transform:
    """The transform of the first of these folders that holds one: the base's, else that of a checkpoint finetuned from it.

    `positions`: most tokens the model has positions for. `segmented`: whether it takes segments (token types).
    UserError if no folder holds one, or if it cannot be read.
    """
    if images:
        return _image_transform(_first(folders, IMAGE_FILES, "image processor"))
    folder = _first(folders, TOKENIZER_FILES, "tokenizer")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a tokenizer's files contain
        raise UserError(
            f"transformers cannot read the tokenizer in {folder} ({first_line(error)}): save the model's own there, whole."
        ) from None
    if len(tokenizer) > (size := getattr(config, "vocab_size", len(tokenizer))):
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, but the model only {size}: give its own."
        )
    most = min(MOST_TOKENS, tokenizer.model_max_length, positions or MOST_TOKENS)
    own = getattr(config, "pad_token_id", None)
    padding = own if own is not None else tokenizer.pad_token_id
    padding = 0 if padding is None or padding < 0 else padding
    return TextTransform(tokenizer, most, padding, f"{_files(folder, TOKENIZER_FILES)} {most}", segmented)


def _image_transform(folder: Path) -> Transform:
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as above
        raise UserError(
            f"transformers cannot read the image processor in {folder} ({first_line(error)}): correct it."
        ) from None
    return ImageTransform(
        lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0], _files(folder, IMAGE_FILES)
    )


@dataclass(frozen=True)
class ImageSize:
    """(height, width) of prepared images; `varies`: it depends on the image, and this is a square one's."""

    size: tuple[int, int]
    varies: bool = False


def processed_size(folders: Sequence[Path], side: int) -> ImageSize | None:
    """What the first image processor among these folders makes of a square image of this side; None without one that works.

    Asked of the processor itself, by images of three forms: the fields by which processors say it differ.
    """
    from PIL.Image import new

    more = side + side // 2
    try:
        prepare = _image_transform(_first(folders, IMAGE_FILES, "image processor"))
        sizes = [tuple(prepare(new("RGB", one)).shape[-2:]) for one in ((side, side), (more, side), (side, more))]
    except Exception:  # whoever asks for its transform is told why
        return None
    return ImageSize(sizes[0], len(set(sizes)) > 1)


def size_text(size: tuple[int, int]) -> str:
    """`height × width`."""
    return f"{size[0]} × {size[1]}"


def _first(folders: Sequence[Path], names: Sequence[str], what: str) -> Path:
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    raise UserError(f"{folders[0]} holds no {what} ({', '.join(names[:2])}): save the model's own beside its weights.")


def _files(folder: Path, names: Sequence[str]) -> str:
    """Fingerprint of the files that say how samples are prepared."""
    there = [path for path in (folder / name for name in names) if path.is_file()]
    return sha256(json.dumps([path.read_bytes().hex() for path in there]).encode()).hexdigest()[:32]
