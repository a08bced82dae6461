"""Prepare samples for a model: images with the checkpoint's image processor, texts with its tokenizer.

`fda.tasks.data` knows where samples come from and what their columns are called. Nothing is downloaded and no code of a
checkpoint runs: processors and tokenizers are those built into the installed libraries.
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

MOST_TOKENS = 512  # texts are cut to this length, or to a shorter limit of the model or its tokenizer
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
    """A batch of texts: token ids (b, t) int64, `mask` (b, t) bool, false on padding, and segments (b, t) int64 or None."""

    ids: Tensor
    mask: Tensor
    segments: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> torch.Size:
        return self.ids.shape

    def __getitem__(self, part: slice) -> "TextBatch":
        """Some of its texts, padded as before."""
        return TextBatch(self.ids[part], self.mask[part], None if self.segments is None else self.segments[part])

    def to(self, device: str | torch.device) -> "TextBatch":
        segments = None if self.segments is None else self.segments.to(device)
        return TextBatch(self.ids.to(device), self.mask.to(device), segments)


Batch = Tensor | TextBatch  # images: (b, 3, height, width)


class Transform(ABC):
    """`transform(sample)` prepares one sample; `batch` collates prepared samples; `identity` is a hash of the transform."""

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
    """`tokenizer`: transformers' object; `most`: longest text in tokens; `padding`: id of the padding token."""

    tokenizer: Any
    most: int
    padding: int
    identity: str
    segmented: bool
    kind = "text"

    def __call__(self, sample: str | tuple[str, ...]) -> Tensor:
        """Return (t, 2) int64: token ids and segments. Of a pair, the longer text is cut first."""
        texts = (sample,) if isinstance(sample, str) else sample
        encoding = self.tokenizer(*texts, truncation=True, max_length=self.most, return_token_type_ids=True)
        ids = encoding["input_ids"] or [self.padding]  # an empty text, if the tokenizer adds no start token
        segments = encoding.get("token_type_ids") or [0] * len(ids)
        return torch.tensor([ids, segments], dtype=torch.int64).T

    def batch(self, prepared: Sequence[Tensor]) -> TextBatch:
        """Pad on the right, so that a causal model's view of a text does not depend on the other texts."""
        longest = max(len(text) for text in prepared)
        padded = torch.zeros(len(prepared), longest, 2, dtype=torch.int64)
        padded[..., 0] = self.padding
        mask = torch.zeros(len(prepared), longest, dtype=torch.bool)
        for row, text in enumerate(prepared):
            padded[row, : len(text)] = text
            mask[row, : len(text)] = True
        return TextBatch(padded[..., 0].clone(), mask, padded[..., 1].clone() if self.segmented else None)


def checkpoint_transform(
    folders: Sequence[Path], config: Any, *, images: bool, positions: int | None, segmented: bool
) -> Transform:
    """Load the processor (if `images`) or tokenizer of the first of these folders that has one.

    `positions`: the most tokens that the model has positions for. `segmented`: whether it takes segments (token types).
    UserError if no folder has one, or if it cannot be read.
    """
    if images:
        return _image_transform(_first(folders, IMAGE_FILES, "image processor"))
    folder = _first(folders, TOKENIZER_FILES, "tokenizer")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raise anything for damaged files
        raise UserError(
            f"transformers cannot read the tokenizer in {folder} ({first_line(error)}): save the model's own there, whole."
        ) from None
    if len(tokenizer) > (size := getattr(config, "vocab_size", len(tokenizer))):
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, but the model only {size}: give its own."
        )
    most = min(MOST_TOKENS, tokenizer.model_max_length, positions or MOST_TOKENS)
    padding = getattr(config, "pad_token_id", None)
    padding = tokenizer.pad_token_id if padding is None else padding
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
    """(height, width) of prepared images; `varies`: it depends on the image, and `size` is that of a square one."""

    size: tuple[int, int]
    varies: bool = False


def processed_size(folders: Sequence[Path], side: int) -> ImageSize | None:
    """Return the size that the first image processor in these folders gives a square image of this side; None without one.

    Runs the processor on images of three shapes, because processors express their sizes in different fields. A processor that
    fails counts as none; `checkpoint_transform` raises the error.
    """
    from PIL.Image import new

    more = side + side // 2
    try:
        prepare = _image_transform(_first(folders, IMAGE_FILES, "image processor"))
        shapes = [prepare(new("RGB", shape)).shape for shape in ((side, side), (more, side), (side, more))]
        sizes = [(shape[-2], shape[-1]) for shape in shapes]
    except Exception:  # whatever a processor does with its files: preparing the first sample reports it
        return None
    return ImageSize(sizes[0], len(set(sizes)) > 1)


def size_text(size: tuple[int, int]) -> str:
    """Return the text `height × width`."""
    return f"{size[0]} × {size[1]}"


def _first(folders: Sequence[Path], names: Sequence[str], what: str) -> Path:
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    raise UserError(f"{folders[0]} holds no {what} ({', '.join(names[:2])}): save the model's own beside its weights.")


def _files(folder: Path, names: Sequence[str]) -> str:
    """Fingerprint of those of the named files that exist."""
    paths = [path for path in (folder / name for name in names) if path.is_file()]
    return sha256(json.dumps([path.read_bytes().hex() for path in paths]).encode()).hexdigest()[:32]
