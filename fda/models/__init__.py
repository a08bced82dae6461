"""Read checkpoints lazily and safely, find the repeated blocks of a model, and describe a zoo: a base and its tasks."""
