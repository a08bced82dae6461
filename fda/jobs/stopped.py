"""How work is interrupted: the exception that ends a run when somebody pressed Stop."""


class Stopped(Exception):
    """The run was asked to stop; what is finished stays."""
