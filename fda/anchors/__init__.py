"""The method: initialisation, angle loss, construction and adaptation. Tensors in, tensors and events out.

No file, no store and no process; the paper's plain loop is kept beside the fast one, and tests compare them.
"""
