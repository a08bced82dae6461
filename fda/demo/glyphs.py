"""Letters drawn with typefaces from PyPI packages (SIL OFL 1.1 or Apache 2.0), not with system fonts.

The splits use different font files, so no test letter has the outline of a training letter.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fda.errors import UserError

CANVAS = 64  # drawn at twice the final size, then reduced


# Package → styles, by split. Every split has italics, several weights and serifs; every font file is in one split only.
STYLES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "font_caladea": ("Regular", "Italic"),
        "font_lato": ("Regular", "Bold", "Italic"),
        "font_roboto": ("Regular", "Bold", "Light", "Italic"),
        "font_source_sans_pro": ("Regular", "Bold", "It"),
        "font_source_serif_pro": ("Regular", "Bold", "It"),
    },
    "validation": {
        "font_lato": ("Black",),
        "font_roboto": ("MediumItalic",),
        "font_source_sans_pro": ("Light",),
        "font_source_serif_pro": ("Light", "BoldIt"),
    },
    "test": {
        "font_caladea": ("Bold", "BoldItalic"),
        "font_lato": ("Light", "BoldItalic"),
        "font_roboto": ("Medium", "BoldItalic"),
        "font_source_sans_pro": ("Semibold", "SemiboldIt"),
        "font_source_serif_pro": ("Semibold", "SemiboldIt"),
    },
}
TIMES = {"train": 9, "validation": 4, "test": 4}  # pictures of every letter in every style


def font_files(package: str, styles: tuple[str, ...]) -> list[Path]:
    """The package's font files in the order of `styles`. UserError if it is not installed."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        distribution = package.replace("_", "-")
        raise UserError(f"The typeface package {distribution} is not installed: pip install -r requirements.txt.")
    folder = Path(spec.origin).parent / "files"
    return [next(path for path in sorted(folder.glob(f"*-{style}.?tf"))) for style in styles]


def draw_letter(letter: str, font_file: Path, rng: np.random.Generator) -> Image.Image:
    """One 32 × 32 picture with random colours and a small random rotation, size and shift."""
    font = ImageFont.truetype(str(font_file), int(rng.integers(38, 54)))
    paper, ink = rng.integers(150, 256, size=3), rng.integers(0, 106, size=3)
    if rng.random() < 0.5:
        paper, ink = ink, paper
    x, y = CANVAS / 2 + rng.uniform(-5, 5, size=2)
    mask = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(mask).text((x, y), letter, fill=255, font=font, anchor="mm")
    mask = mask.rotate(float(rng.uniform(-12, 12)), resample=Image.Resampling.BICUBIC)
    page = Image.new("RGB", (CANVAS, CANVAS), tuple(int(value) for value in paper))
    page.paste(tuple(int(value) for value in ink), mask=mask)
    return page.resize((CANVAS // 2, CANVAS // 2), Image.Resampling.BOX)


def render_letters(alphabet: str, split: str, rng: np.random.Generator) -> tuple[list[Image.Image], list[int]]:
    """(pictures, labels) of every letter in every style of the split; labels are indices into `alphabet`."""
    images, labels = [], []
    for package, styles in STYLES[split].items():
        for font_file in font_files(package, styles):
            for label, letter in enumerate(alphabet):
                images.extend(draw_letter(letter, font_file, rng) for _ in range(TIMES[split]))
                labels.extend([label] * TIMES[split])
    return images, labels
