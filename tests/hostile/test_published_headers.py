"""Attack: .npy files of "published anchors" whose headers lie about what follows."""

import io

import numpy as np
import pytest

from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.errors import UserError


def with_header(shape: str, data: bytes, descr: str = "<f4", fortran: bool = False) -> bytes:
    """A .npy file of version 1 whose header says `shape`, whatever follows it."""
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ("(-1, 2, 4)", "its shape is [-1, 2, 4], and sizes are positive whole numbers"),
        ("(3, -1, -1)", "its shape is [3, -1, -1], and sizes are positive whole numbers"),
        ("(-3, -2, 4)", "its shape is [-3, -2, 4], and sizes are positive whole numbers"),
        ("(0, 2, 4)", "its shape is [0, 2, 4], and sizes are positive whole numbers"),
        ("(True, 6, 4)", "its shape is [True, 6, 4], and sizes are positive whole numbers"),
        ("(3, 2, 5)", "its shape is [3, 2, 5], and 96 bytes follow"),
        ("(3, 2, 3)", "its shape is [3, 2, 3], and 96 bytes follow"),
        ("(9223372036854775807, 9223372036854775807, 4)", "and 96 bytes follow"),
        ("(1, 3, 2, 4)", "holds an array of shape [1, 3, 2, 4], where anchors have three axes of numbers"),
        ("(24,)", "holds an array of shape [24], where anchors have three axes of numbers"),
        ("()", "its shape is [], and 96 bytes follow"),
        ("'abc'", "is not a whole .npy file"),
        ("(3, 2, 4.0)", "is not a whole .npy file"),
    ],
)
def test_a_shape_that_lies_is_one_sentence(tmp_path, shape, says):
    path = tmp_path / "dual_anchors_layer_1.npy"
    path.write_bytes(with_header(shape, np.arange(24, dtype=np.float32).tobytes()))
    with pytest.raises(UserError) as caught:
        read_published_anchors(path)
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_either_memory_order_gives_the_same_anchors(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    read = []
    for order in "CF":
        np.save(tmp_path / f"{order}.npy", np.asarray(array, order=order))
        read.append(read_published_anchors(tmp_path / f"{order}.npy").numpy())
    np.testing.assert_array_equal(read[0], array.transpose(1, 0, 2))
    np.testing.assert_array_equal(read[1], read[0])


def test_the_header_that_the_tests_write_is_numpys(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    assert np.array_equal(np.load(io.BytesIO(with_header("(3, 2, 4)", array.tobytes()))), array)
