"""What VMMs, kernels and tests print when a restore fails, and what it means."""

from __future__ import annotations

from kvmfw.messages.explained import Explained, explain
from kvmfw.messages.told import Told, in_the_way, read_messages

__all__ = ["Explained", "Told", "explain", "in_the_way", "read_messages"]
