"""The probe as a module, by itself: the live runs ask it for registers, orders and machines, not the package."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from .guest import PROBE


def load() -> ModuleType:
    """The single file, without the package around it, as the emulated machines run it."""
    spec = importlib.util.spec_from_file_location("kvmfw_live_probe", PROBE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


probe = load()
