"""What images of every mode become: ordinary ones what PIL makes of them, wide ones scaled by their range."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image

from fda.errors import UserError
from fda.tasks.pixels import Pixels

WIDE = np.array([[0, 257], [32896, 65535]])  # 0, 1, 128 and 255 of 255
NARROW = np.array([[0, 1], [128, 255]], np.uint8)


def stored(image: Image.Image | np.ndarray, form: str) -> Image.Image:
    """As a file of this form gives it back."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, form)
    return Image.open(io.BytesIO(file.getvalue()))


def grey(*images, feature=None) -> list[np.ndarray]:
    """What a split of these images becomes; all three channels are one."""
    pixels = Pixels(feature, lambda: iter(images))
    made = [np.asarray(pixels.rgb(image)) for image in images]
    assert all((one == one[..., :1]).all() and one.dtype == np.uint8 for one in made)
    return [one[..., 0] for one in made]


@pytest.mark.parametrize(
    "image",
    [
        stored(WIDE.astype(np.uint16), "PNG"),
        stored(WIDE.astype(np.uint16), "TIFF"),
        stored(WIDE.astype(np.uint16), "PPM"),
        stored(WIDE.astype(np.int32), "TIFF"),
        stored((NARROW / 255).astype(np.float32), "TIFF"),
        stored(NARROW.astype(np.float32), "TIFF"),
        stored(NARROW.astype(np.int32), "TIFF"),
        NARROW,
        WIDE.astype(np.uint16),
        (NARROW / 255)[None],
        (NARROW / 255)[..., None].astype(np.float32),
    ],
    ids=lambda image: getattr(image, "mode", None) or str(image.dtype),
)
def test_every_depth_gives_the_same_grey(image):
    assert grey(image)[0].tolist() == NARROW.tolist()


def test_the_range_of_all_images_decides_so_that_equal_pixels_stay_equal():
    dark, bright = (np.array([[0, 200]], np.int32), np.array([[200, 65535]], np.int32))
    first, second = grey(stored(dark, "TIFF"), stored(bright, "TIFF"))
    assert first[0, 1] == second[0, 0] == 1, "200 is nearly black where another image has 65535"
    first, second = grey(np.array([[0.2]]), np.array([[200.0]]))
    assert (first.item(), second.item()) == (0, 200)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_ordinary_images_are_what_pil_makes_of_them(mode):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (6, 5, 4), dtype=np.uint8), "RGBA")
    image = image.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "HSV", "P", "PA") else image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 0
    assert np.array_equal(np.asarray(Pixels(None, None).rgb(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    "array, says",
    [
        (np.array([[-5, 7]], np.int32), r"hold integers of 32 bits from -5 to 7, which do not say what is black"),
        (np.array([[0, 70000]], np.int32), r"from 0 to 70000, .* or with numbers in 0 … 255 or 0 … 65535"),
        (np.array([[-1.0, 1.0]], np.float32), r"hold floats from -1 to 1, .* or with numbers in 0 … 1 or 0 … 255"),
        (np.array([[0.0, 65535.0]], np.float32), "from 0 to 65535"),
        (np.array([[0.0, np.nan]], np.float32), "from nan to nan"),
        (np.array([[0.0, np.inf]], np.float32), "from 0 to inf"),
        (np.zeros((3, 5, 3), np.uint8), r"an array of shape \(3, 5, 3\) is no image"),
        (np.zeros((2, 5, 5), np.uint8), r"an array of shape \(2, 5, 5\) is no image"),
        (np.zeros(5, np.uint8), r"an array of shape \(5,\) is no image"),
    ],
)
def test_what_leaves_white_open_is_refused(array, says):
    with pytest.raises(UserError, match=says):
        grey(array)


def test_twelve_bits_of_a_tiff_are_scaled_by_twelve_bits():
    image = Image.fromarray(np.array([[0, 4095]], np.uint16))
    image.tag_v2 = {258: (12,)}
    assert grey(image)[0].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    "feature, value",
    [
        (datasets.Array2D((2, 2), "uint16"), WIDE),
        (datasets.Array3D((1, 2, 2), "float32"), (NARROW / 255)[None]),
        (datasets.List(datasets.List(datasets.Value("uint8"))), NARROW),
    ],
)
def test_arrays_in_tables_are_images_by_the_type_of_their_column(feature, value):
    table = datasets.Dataset.from_dict({"image": [value.tolist()]}, features=datasets.Features({"image": feature}))
    assert grey(table[0]["image"], feature=table.features["image"])[0].tolist() == NARROW.tolist()
