"""Versions of PSCI, as QEMU's property `kvm-psci-version` names them and as the firmware register holds them."""

from __future__ import annotations

from typing import Final

__all__ = ["VERSIONS", "version_name"]

VERSIONS: Final = {"0.2": 0x2, "1.0": 0x10000, "1.1": 0x10001, "1.2": 0x10002, "1.3": 0x10003}
"""The versions that KVM knows (`kvm_arm_set_fw_reg`, 5.10 to 7.3) but 0.1, which is a vCPU without `psci_0_2`."""


def version_name(value: int) -> str | None:
    """Give the name of a version; None where a vCPU with `psci_0_2` does not have it.

    >>> version_name(0x10001), version_name(0x1)
    ('1.1', None)
    """
    return next((name for name, version in VERSIONS.items() if version == value), None)
