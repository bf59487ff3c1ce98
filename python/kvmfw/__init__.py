"""Tells whether a target host's arm64 KVM takes a VM's saved registers, and why not."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmfw import _native
from kvmfw._native import HostHandle, VmHandle
from kvmfw.any_format import read_other_formats
from kvmfw.errors import (
    ArgumentError,
    CopyError,
    ForkError,
    FormatError,
    InputError,
    InternalError,
    KvmfwError,
    MissingError,
    RowError,
    TruthError,
)
from kvmfw.registers import Field, Register, fields_of, find_register, register_name, registers
from kvmfw.rules import Rule, find_rule, rules
from kvmfw.vmms import Vmm, vmms

if TYPE_CHECKING:
    from kvmfw import probe as probe
    from kvmfw import readers as readers
    from kvmfw.audit import Audit
    from kvmfw.fleet import Fleet
    from kvmfw.sets import Host, RegisterSet
    from kvmfw.snapshot import Snapshot
    from kvmfw.verdict import FieldDifference, Finding, Outcome, Verdict, validate

__version__, _DEBUG_BUILD, _ = _native.build_info()
# A child has none of the threads that were at work: it is told so instead of waiting for them.
os.register_at_fork(after_in_child=_native.forked)

if _DEBUG_BUILD:
    warnings.warn("kvmfw is a debug build and runs many times slower", RuntimeWarning, stacklevel=2)

# What takes its time is imported when it is first asked for: `kvmfw --version` needs none of it. Not so functions of the name
# of their module, which would be the module once somebody imports that.
_LATER = (
    {"Audit": "kvmfw.audit", "Fleet": "kvmfw.fleet", "Snapshot": "kvmfw.snapshot"}
    | dict.fromkeys(("Host", "RegisterSet"), "kvmfw.sets")
    | dict.fromkeys(("FieldDifference", "Finding", "Outcome", "Verdict", "validate"), "kvmfw.verdict")
    | dict.fromkeys(("probe", "readers"), "")
)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module `kvmfw` has no attribute `{name}`")
    module = import_module(_LATER[name] or f"kvmfw.{name}")
    value = getattr(module, name) if _LATER[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


def _other_set(path: str | Path) -> RegisterSet | None:
    return __getattr__("readers").foreign_set(path)  # type: ignore[no-any-return]


def _other_host(path: str | Path) -> Host | None:
    return __getattr__("readers").foreign_host(path)  # type: ignore[no-any-return]


read_other_formats(_other_set, _other_host)

__all__ = [
    "ArgumentError",
    "Audit",
    "CopyError",
    "Field",
    "FieldDifference",
    "Finding",
    "Fleet",
    "ForkError",
    "FormatError",
    "Host",
    "HostHandle",
    "InputError",
    "InternalError",
    "KvmfwError",
    "MissingError",
    "Outcome",
    "Register",
    "RegisterSet",
    "RowError",
    "Rule",
    "Snapshot",
    "TruthError",
    "Verdict",
    "VmHandle",
    "Vmm",
    "__version__",
    "fields_of",
    "find_register",
    "find_rule",
    "register_name",
    "registers",
    "rules",
    "validate",
    "vmms",
]
