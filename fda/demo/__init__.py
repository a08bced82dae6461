"""The embedded demo zoo: where its pictures come from and how its models are trained. Only its builder needs this room.

The zoo itself lies in assets/demo and is read like any other.
"""

from fda.demo.build import build

__all__ = ["build"]
