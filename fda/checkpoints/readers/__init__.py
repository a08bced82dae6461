"""Safe, lazy readers of every format that checkpoints come in: each a `Weights`, a read-only mapping name → tensor.

`fda.checkpoints.readers.open` chooses the reader. No file can make any of them run code or import anything.
"""
