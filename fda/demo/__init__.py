"""The embedded demo zoo: where its pictures come from and how its models are trained."""

from fda.demo.build import build

__all__ = ["build"]
