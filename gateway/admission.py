"""How many requests are let in, so that a flood is answered at once instead of being queued without end."""

from __future__ import annotations

from gateway.errors import ApiError


class Admission:
    """Counts requests in flight and sheds what exceeds the limit; used from one event loop."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.num_in_flight = 0
        self.num_shed = 0

    def enter(self) -> Place:
        """A place, to be left exactly when the answer has been sent or given up. Raises ApiError (429)."""
        if self.num_in_flight >= self.max_in_flight:
            self.num_shed += 1
            raise ApiError(
                429,
                f"The server already serves {self.max_in_flight} requests, its limit; try again shortly.",
                code="overloaded",
                retry_after_s=1,
            )
        self.num_in_flight += 1
        return Place(self)


class Place:
    """One request's place among those in flight."""

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission

    def leave(self) -> None:
        """Frees the place; further calls do nothing."""
        if self._admission is not None:
            self._admission.num_in_flight -= 1
            self._admission = None
