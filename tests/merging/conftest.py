"""Registers the marker of the memory test."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "memory: writes 3.6 GB of checkpoints and measures the peak memory of every method"
    )
