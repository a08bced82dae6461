"""The builder of the embedded demo zoo: where its pictures come from and how its models are trained.

The zoo itself is in assets/demo and is read like any other; nothing else imports this room.
"""

from fda.demo.build import build

__all__ = ["build"]
