"""A budget of operations, bytes and seconds for reading one file; every step of its readers spends from it.

A few kilobytes can cost a reader hours or gigabytes: one long list copied again and again, one long name joined along every
path of a module, a compressed run of zeros.
"""

import time
from dataclasses import dataclass, field


class Exceeded(Exception):
    """Reading the file would cost more than any checkpoint needs; the message says which limit was exceeded."""


@dataclass
class Budget:
    """What remains. `deadline`: by the monotonic clock, a backstop for work that is not counted."""

    operations: int
    bytes: int
    deadline: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def spend(self, operations: int = 1, bytes: int = 0) -> None:
        """Subtract from the budget. `Exceeded` once it is overdrawn."""
        before = self.operations
        self.operations -= operations
        self.bytes -= bytes
        if self.operations < 0:
            raise Exceeded("takes more steps to read than any checkpoint of its size")
        if self.bytes < 0:
            raise Exceeded("grows larger when it is read than any checkpoint of its size")
        if self.operations >> 16 != before >> 16 and time.monotonic() > self.deadline:
            raise Exceeded(f"was not read within {SECONDS} s")


# A state dict takes 40 to 60 opcodes and 60 to 200 bytes of pickle per tensor, and an opcode copies at most what precedes it.
# Mixture-of-experts models have 100,000 tensors, which take 6 million opcodes, and their optimisers three times as many.
# The Python objects for one tensor take less than 1 KiB.
OPERATIONS_PER_BYTE, FEWEST_OPERATIONS, MOST_OPERATIONS = 4, 100_000, 50_000_000
BYTES_PER_BYTE, FEWEST_BYTES, MOST_BYTES = 100, 16 * 2**20, 2**30
SECONDS = 300


def budget_of(size: int) -> Budget:
    """Return the budget for a pickle of `size` bytes."""
    operations = min(FEWEST_OPERATIONS + OPERATIONS_PER_BYTE * size, MOST_OPERATIONS)
    # 4 · size: old pickles hold numpy arrays as text
    return Budget(operations, max(min(FEWEST_BYTES + BYTES_PER_BYTE * size, MOST_BYTES), 4 * size))
