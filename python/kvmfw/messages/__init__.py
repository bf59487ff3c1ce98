"""What VMMs, kernels and tests print when a restore fails, and what it means."""

from __future__ import annotations

from kvmfw.messages.explained import Explained, explain
from kvmfw.messages.told import Told, read_messages

__all__ = ["Explained", "Told", "explain", "read_messages"]
