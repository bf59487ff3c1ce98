"""What people are told about a verdict: what is alike in one line, how much a change weighs, what to do."""

from __future__ import annotations

from kvmfw.telling.cures import what_to_do
from kvmfw.telling.folds import Fold, fold
from kvmfw.telling.overview import Overview, overview
from kvmfw.telling.weights import WEIGHTS, Weight, weight_of

__all__ = ["WEIGHTS", "Fold", "Overview", "Weight", "fold", "overview", "weight_of", "what_to_do"]
