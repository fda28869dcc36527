"""What is raised where building takes too much."""


class FuelError(RuntimeError):
    """Building took more steps than it was given."""


class DeadlineError(FuelError):
    """Something takes longer than it may."""


def unlimited(steps: int) -> None:
    """Takes steps of which there are always more."""
