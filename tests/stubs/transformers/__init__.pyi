# The real file names every class of the library: to read it takes pyright a third of its time. Its modules are read as they are.
from typing import Any

def __getattr__(name: str) -> Any: ...
