"""One small good file of each format that is read, and ways to damage it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from kvmfw.readers.qemu_stream import read_stream
from kvmfw.testing import capture_document, tiny_set

DATA = Path(__file__).parents[1] / "data" / "qemu"
INVENTORY = Path(__file__).parents[1] / "data" / "inventory"
STREAM = DATA / "kvm-6.12-neoverse-n1-qemu-11.1.gz"
VMSTATE = (
    Path(__file__).parents[1]
    / "realvmm"
    / "snapshots"
    / ("7.3.4+deb13-arm64__neoverse-n1__default__fc1.12__nossbs.vmstate.gz")
)
TWO_VCPUS = DATA / "tcg-2-vcpus-qemu-7.2.gz"
WA1, WA3, MIDR = 0x6030000000140001, 0x6030000000140003, 0x603000000013C000
REGISTERS = {MIDR: 0x410FD0C1, WA1: 2, WA3: 1}


def long_table(vms: int = 3) -> pa.Table:
    rows = [(f"vm{vm}", register, value) for vm in range(vms) for register, value in REGISTERS.items()]
    vm, register, value = (list(column) for column in zip(*rows, strict=True))
    columns = [pa.array(vm), pa.array(register, pa.uint64()), pa.array(value, pa.uint64())]
    return pa.table(columns, names=["vm", "register", "value"])


def nested_table(vms: int = 3) -> pa.Table:
    lists = [list(REGISTERS)] * vms, [list(REGISTERS.values())] * vms
    columns = [
        pa.array([f"vm{vm}" for vm in range(vms)]),
        *(pa.array(part, pa.list_(pa.uint64())) for part in lists),
    ]
    return pa.table(columns, names=["vm", "register", "value"])


def bitmap(value: int, digits: int = 128) -> str:
    return f"0b{value:0{digits}b}"


def template() -> dict[str, Any]:
    modifiers = [{"addr": f"{register:#x}", "bitmap": bitmap(value)} for register, value in REGISTERS.items()]
    return {"kvm_capabilities": [], "vcpu_features": [], "reg_modifiers": modifiers}


def fingerprint() -> dict[str, Any]:
    return {
        "firecracker_version": "1.16.0-dev",
        "kernel_version": "6.1.172-216.329.amzn2023.aarch64",
        "microcode_version": "0x0000000000000017",
        "bios_version": "1.0",
        "bios_revision": "1.0",
        "guest_cpu_config": template(),
    }


def snapshot(vcpus: int = 1) -> dict[str, Any]:
    def state(registers: dict[int, int]) -> dict[str, Any]:
        listed = [
            list(register.to_bytes(8, "little") + value.to_bytes(8, "little"))
            for register, value in registers.items()
        ]
        vls = {"id": 0x606000000015FFFF, "data": [1] + [0] * 63}
        return {
            "Kvm": {
                "mp_state": [0] * 4,
                "core_regs": [0] * 864,
                "sys_regs": listed,
                "pre_finalize_regs": [vls],
            }
        }

    one = {"snapshots": {}, "snapshot_data": {"state": json.dumps(state(REGISTERS))}}
    cpus = {"snapshots": {str(number): one for number in range(vcpus)}, "snapshot_data": None}
    return {"snapshots": {"cpu-manager": cpus, "memory-manager": {"snapshots": {}, "snapshot_data": None}}}


def analyzed() -> dict[str, Any]:
    """Give what analyze-migration.py prints of the stream with two vCPUs: the cpu sections of it."""
    stream = read_stream(TWO_VCPUS)
    found: dict[str, Any] = {"ram (2)": {"section sizes": {}}}
    for instance in stream.cpus:
        registers = stream.registers(instance)
        found[f"cpu ({30 + 2 * instance})"] = {
            "env.pc": "0x0000000000000000",
            "cpreg_vmstate_array_len": f"{len(registers):#010x}",
            "cpreg_vmstate_indexes": [f"{register:#018x}" for register in registers],
            "cpreg_vmstate_values": [f"{value:#018x}" for value in registers.values()],
        }
    return found


REG_LIST = """\
\tKVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.regs[0]),
\tKVM_REG_ARM64 | KVM_REG_SIZE_U32 | KVM_REG_ARM_DEMUX | KVM_REG_ARM_DEMUX_ID_CCSIDR | 0,
\tARM64_SYS_REG(3, 0, 0, 0, 0), /* MIDR_EL1 */
\tKVM_REG_ARM_FW_REG(1),
\tKVM_REG_ARM_FW_FEAT_BMAP_REG(0),
\tKVM_REG_ARM64_SVE_VLS,
\tKVM_REG_ARM64_SVE_ZREG(3, 0),
"""
PROPERTIES = {
    "return": {
        "model": "host",
        "SYSREG_ID_AA64MMFR1_EL1_VH": {"min": 0, "max": 1},
        "SYSREG_ID_AA64ISAR0_EL1_DP": True,
    }
}


def _json(document: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "sample.json"
        path.write_text(json.dumps(document))
        return path

    return write


def _table(kind: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return write_table(folder, kind, long_table())

    return write


def write_table(folder: Path, kind: str, table: pa.Table) -> Path:
    path = folder / f"sample.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "csv":
        pa_csv.write_csv(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


def _stream(folder: Path) -> Path:
    path = folder / "sample.bin"
    path.write_bytes(gzip.decompress(STREAM.read_bytes()))
    return path


def _vmstate(folder: Path) -> Path:
    path = folder / "sample.vmstate"
    path.write_bytes(gzip.decompress(VMSTATE.read_bytes()))
    return path


def _list(folder: Path) -> Path:
    path = folder / "sample.txt"
    path.write_text(REG_LIST)
    return path


def _inventory(file: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / Path(file).name
        path.write_bytes((INVENTORY / file).read_bytes())
        return path

    return write


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "register-set": _json(tiny_set().to_document()),
    "capture": _json(capture_document(REGISTERS)),
    "parquet": _table("parquet"),
    "arrow": _table("arrow"),
    "csv": _table("csv"),
    "qemu-stream": _stream,
    "qemu-analyze": _json(analyzed()),
    "firecracker-fingerprint": _json(fingerprint()),
    "firecracker-template": _json(template()),
    "cloud-hypervisor": _json(snapshot()),
    "firecracker-vmstate": _vmstate,
    "get-reg-list": _list,
    "qemu-props": _json(PROPERTIES),
    "libvirt": _inventory("n1-612-a/web-1.xml"),
    "kubevirt": _inventory("vmis.json"),
    "nova-servers": _inventory("servers.json"),
    "nova-migrations": _inventory("migrations.json"),
    "proxmox": _inventory("nodes/n1-612-a/qemu-server/101.conf"),
    "births": _inventory("births.csv"),
}


def fleet_source(place: Path, tag: str, count: int, host: str, *, level: int = 1) -> Path:
    """A folder with VMs named by a tag, at home on a host with a capture of its own."""
    place.mkdir()
    columns = {"vm": [f"{tag}-{at}" for at in range(count)], "host": [host] * count}
    columns["register"] = pa.array([WA3] * count, pa.uint64())
    columns["value"] = pa.array([level] * count, pa.uint64())
    pq.write_table(pa.table(columns), place / "vms.parquet")
    (place / "host.json").write_text(json.dumps(capture_document({WA1: 2, WA3: level}, name=host)))
    return place
