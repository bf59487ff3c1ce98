"""Readers: files, folders and tables of many formats become register sets, hosts and columns.

There is one module for each format; which one reads a file is found out by what is in the file
(docs/formats.md lists them).
"""

from __future__ import annotations

from kvmfw.readers.behind import read_through
from kvmfw.readers.facts import HostFacts, read_facts
from kvmfw.readers.firecracker import CpuTemplate
from kvmfw.readers.folders import (
    fleet_folder,
    fleet_sources,
    foreign_host,
    foreign_set,
    hosts,
    parts_of,
    register_sets,
)
from kvmfw.readers.formats import FORMATS, detect
from kvmfw.readers.rejects import Intake, Reject
from kvmfw.readers.saved import SavedVcpu
from kvmfw.readers.stored import StoredVms
from kvmfw.readers.told_vmms import told_vmm
from kvmfw.readers.vcpu import ENABLED, FEATURES
from kvmfw.readers.vcpu import config_of_words as vcpu_config
from kvmfw.readers.vcpus import distinct_vcpus, judge_vm

__all__ = [
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
    "fleet_sources",
    "foreign_host",
    "foreign_set",
    "hosts",
    "judge_vm",
    "parts_of",
    "read_facts",
    "read_through",
    "register_sets",
    "told_vmm",
    "vcpu_config",
    "vms_of",
]

vms_of = register_sets
"""The name that `register_sets` had for folders of any format in 0.1.0."""
