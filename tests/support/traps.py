"""Traps as reports and the API tell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["without_kinds"]


def without_kinds(traps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what a report says beside the numbers: CPU and kernel."""
    return [{key: value for key, value in row.items() if key != "kinds"} for row in traps]
