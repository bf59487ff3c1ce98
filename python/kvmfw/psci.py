"""Versions of PSCI, as QEMU's property `kvm-psci-version` names them and as the firmware register holds them."""

from __future__ import annotations

from typing import Final

from kvmfw import _native

__all__ = ["VERSIONS", "version_name"]

VERSIONS: Final = dict(_native.psci_versions())
"""The versions that KVM knows but 0.1, which is a vCPU without `psci_0_2`; the core holds them."""


def version_name(value: int) -> str | None:
    """Give the name of a version; None where a vCPU with `psci_0_2` does not have it.

    >>> version_name(0x10001), version_name(0x1)
    ('1.1', None)
    """
    return next((name for name, version in VERSIONS.items() if version == value), None)
