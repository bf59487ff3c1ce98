"""VMs of which an inventory tells: no registers, but where each was started and how; from these follow its register sets.

What one source says of a VM is a `Told`; what all say of it becomes a `Birth`; a birth and captures become a register set.
"""

from __future__ import annotations

# Its formats are registered there, so that is there before any of them, whichever is imported first.
import kvmfw.readers  # noqa: F401
