"""An independent judge of what KVM_SET_ONE_REG answers on arm64.

It knows no recorded answer: only what a host shows without being written to (register list,
fresh values, writable masks, kernel release, vCPU features) and the rules of the kernel.  It
is written to be read, not to be fast, and shares no code with the package that it checks.
"""

from .facts import Answer, Facts
from .machine import Vm

__all__ = ["Answer", "Facts", "Vm"]
