"""Zoo files and the models they name: validating a zoo, finding its models on disk or on the hub, opening them together.

Data, heads and scores of its tasks belong in `fda.tasks`; nothing here merges or trains.
"""
