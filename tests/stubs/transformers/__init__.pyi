# The real file names every class of the library: reading it takes pyright a third of its time. Its modules are read.
from typing import Any

def __getattr__(name: str) -> Any: ...
