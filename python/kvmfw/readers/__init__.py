"""Readers: files, folders and tables of many formats become register sets, hosts and columns.

There is one module for each format; which one reads a file is found out by what is in the file
(docs/formats.md lists them).
"""

from __future__ import annotations

from kvmfw.errors import RowError
from kvmfw.readers.facts import HostFacts, read_facts
from kvmfw.readers.firecracker import CpuTemplate
from kvmfw.readers.folders import fleet_folder, hosts, register_sets, vms_of
from kvmfw.readers.formats import FORMATS, detect
from kvmfw.readers.rejects import Intake, Reject
from kvmfw.readers.saved import SavedVcpu
from kvmfw.readers.stored import StoredVms
from kvmfw.readers.vcpu import DEFAULT_WORDS as DEFAULT_VCPU
from kvmfw.readers.vcpu import ENABLED, FEATURES
from kvmfw.readers.vcpu import config_of_words as vcpu_config
from kvmfw.readers.vcpus import distinct_vcpus, judge_vm

__all__ = [
    "DEFAULT_VCPU",
    "ENABLED",
    "FEATURES",
    "FORMATS",
    "CpuTemplate",
    "HostFacts",
    "Intake",
    "Reject",
    "SavedVcpu",
    "StoredVms",
    "detect",
    "distinct_vcpus",
    "fleet_folder",
    "hosts",
    "judge_vm",
    "read_facts",
    "register_sets",
    "rows_rejected",
    "vcpu_config",
    "vms_of",
]

_LISTED_ROWS = 1000


def rows_rejected(rejected: list[tuple[int, str]]) -> RowError:
    """Make one exception of all rejected rows."""
    (row, problem), *others = rejected
    return RowError(problem, row, tuple(others[:_LISTED_ROWS]))
