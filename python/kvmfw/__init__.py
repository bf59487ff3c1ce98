"""Tells whether a target host's arm64 KVM takes a VM's saved registers, and why not."""

from __future__ import annotations

import warnings

from kvmfw import _native
from kvmfw.audit import Audit
from kvmfw.errors import (
    ArgumentError,
    CopyError,
    FormatError,
    InputError,
    InternalError,
    KvmfwError,
    RowError,
    TruthError,
)
from kvmfw.fleet import Fleet
from kvmfw.registers import Field, Register, fields_of, find_register, register_name, registers
from kvmfw.rules import Rule, find_rule, rules
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import FieldDifference, Finding, Outcome, Verdict, validate
from kvmfw.vmms import Vmm, vmms

__version__, _DEBUG_BUILD = _native.build_info()

if _DEBUG_BUILD:
    warnings.warn("kvmfw is a debug build and runs many times slower", RuntimeWarning, stacklevel=2)

__all__ = [
    "ArgumentError",
    "Audit",
    "CopyError",
    "Field",
    "FieldDifference",
    "Finding",
    "Fleet",
    "FormatError",
    "Host",
    "InputError",
    "InternalError",
    "KvmfwError",
    "Outcome",
    "Register",
    "RegisterSet",
    "RowError",
    "Rule",
    "TruthError",
    "Verdict",
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
