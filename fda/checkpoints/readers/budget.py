"""What reading a file may cost: one budget of operations, bytes and seconds, which everything that reads it draws from.

A few kilobytes can ask a reader for hours or gigabytes: by copying one long list again and again, by joining one long name
along every path of a module, by unfolding compressed nothing. Here each such step is paid for.
"""

import time
from dataclasses import dataclass, field


class Exceeded(Exception):
    """Reading the file would cost more than any checkpoint needs; the text says what of."""


@dataclass
class Budget:
    """What is left. `deadline`: a backstop for what is not counted, by the monotonic clock."""

    operations: int
    bytes: int
    deadline: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def spend(self, operations: int = 1, bytes: int = 0) -> None:
        """Exceeded once more was spent than there is."""
        before = self.operations
        self.operations -= operations
        self.bytes -= bytes
        if self.operations < 0:
            raise Exceeded("takes more steps to read than any checkpoint of its size")
        if self.bytes < 0:
            raise Exceeded("grows larger when it is read than any checkpoint of its size")
        if self.operations >> 16 != before >> 16 and time.monotonic() > self.deadline:
            raise Exceeded(f"was not read within {SECONDS} s")


# A state dict takes 40 to 60 opcodes and 60 to 200 bytes of pickle for each tensor, and each opcode at most copies what stands
# before it once. Mixture-of-experts models have 100,000 tensors, which are 6 million opcodes, and their optimisers thrice that.
# Objects of Python that stand for one tensor are less than 1 KiB.
OPERATIONS_PER_BYTE, FEWEST_OPERATIONS, MOST_OPERATIONS = 4, 100_000, 50_000_000
BYTES_PER_BYTE, FEWEST_BYTES, MOST_BYTES = 100, 16 * 2**20, 2**30
SECONDS = 300


def budget_of(size: int) -> Budget:
    """The budget for a pickle of so many bytes."""
    return Budget(
        min(FEWEST_OPERATIONS + OPERATIONS_PER_BYTE * size, MOST_OPERATIONS),
        max(
            min(FEWEST_BYTES + BYTES_PER_BYTE * size, MOST_BYTES), 4 * size
        ),  # arrays of numpy may be texts in a pickle
    )
