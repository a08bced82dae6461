"""Zoo files and the models they name: validates a zoo, finds its models on disk or on the hub, and opens them together.

Data, heads and scores of its tasks belong in `fda.tasks`; nothing here merges or trains.
"""
