"""The probe as a module, by itself: the live runs ask it for registers, orders and machines, not the package."""

from __future__ import annotations

from tests.support.modules import load

from .guest import PROBE

# As the emulated machines run it.
probe = load(PROBE, "kvmfw_live_probe")
