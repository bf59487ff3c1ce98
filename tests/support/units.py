"""Which unit of a fleet a finding names."""

from __future__ import annotations

import kvmfw
from kvmfw.snapshot import View


def unit_of(fleet: View, finding: kvmfw.Finding) -> int:
    """Give the number of the only unit of the finding's kind, and of its register where units of that kind have one."""
    named = [
        number
        for number, (kind, register, _) in enumerate(fleet.snapshot()._native.units())
        if kind == finding.unit and (register is None or register == finding.register)
    ]
    assert len(named) == 1, finding
    return named[0]
