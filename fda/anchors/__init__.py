"""The method: initialisation, angle loss, construction and adaptation. Tensors in, tensors and events out.

No files, no store, no processes. The paper's plain loop stands beside the fast one, and tests compare the two.
"""
