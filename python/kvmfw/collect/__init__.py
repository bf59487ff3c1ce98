"""Captures of many hosts over ssh: a quick probe of each tells its kind, one full probe of each kind is enough."""

from __future__ import annotations

from kvmfw.collect.collection import Collected, Failure, assemble, collect
from kvmfw.collect.inventory import Place, read_inventory

__all__ = ["Collected", "Failure", "Place", "assemble", "collect", "read_inventory"]
