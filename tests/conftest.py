"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # the machine may be busy, and speed is the benches' matter
settings.load_profile("untimed")
