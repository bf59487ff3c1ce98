"""Kernels, known by their images before anybody boots them: `read_kernel`, and which known kernel their tables are like."""

from __future__ import annotations

from kvmfw.kernels.fits import Difference, Fit, fits
from kvmfw.kernels.foretold import Foretold, ForetoldVcpu, Target
from kvmfw.kernels.kernel import Kernel, read_kernel
from kvmfw.kernels.presence import Made, Presence, presences
from kvmfw.kernels.tables import Descriptor, FieldRow

__all__ = [
    "Descriptor",
    "Difference",
    "FieldRow",
    "Fit",
    "Foretold",
    "ForetoldVcpu",
    "Kernel",
    "Made",
    "Presence",
    "Target",
    "fits",
    "presences",
    "read_kernel",
]
