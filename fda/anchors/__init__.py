"""The method: initialisation, angle loss, construction and adaptation. Tensors in, tensors and events out; no files."""
