"""Safe, lazy readers of every checkpoint format: each is a `Weights`, a read-only mapping name → tensor.

`fda.checkpoints.readers.open` chooses the reader. No file can make a reader run code or import anything.
"""
