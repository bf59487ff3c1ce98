"""Ways to damage the sample of a format."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from kvmfw.readers import vmstate
from tests.support.samples import SAMPLES, long_table, write_table

Edit = Callable[[Any], Any]


def cut(folder: Path, form: str) -> Path:
    path = SAMPLES[form](folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def empty(folder: Path, form: str) -> Path:
    path = SAMPLES[form](folder)
    path.write_bytes(b"")
    return path


def not_utf8(folder: Path, form: str) -> Path:
    path = SAMPLES[form](folder)
    text = path.read_bytes()
    middle = next(at for at in range(len(text) // 3, len(text)) if text[at : at + 1].isdigit())
    path.write_bytes(text[:middle] + b"\xff\xfe" + text[middle:])
    return path


def cut_gzip(folder: Path, form: str) -> Path:
    path = SAMPLES[form](folder)
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) - 20])
    return path


def json_edit(edit: Edit) -> Callable[[Path, str], Path]:
    def write(folder: Path, form: str) -> Path:
        path = SAMPLES[form](folder)
        document = json.loads(path.read_bytes())
        path.write_text(json.dumps(edit(document)))
        return path

    return write


def text_edit(old: str, new: str) -> Callable[[Path, str], Path]:
    def write(folder: Path, form: str) -> Path:
        path = SAMPLES[form](folder)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    return write


def table_edit(edit: Callable[[pa.Table], pa.Table]) -> Callable[[Path, str], Path]:
    return lambda folder, form: write_table(folder, form, edit(long_table()))


def with_cell(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def edit(table: pa.Table) -> pa.Table:
        cells = table.column(name).to_pylist()
        cells[4] = value
        return table.set_column(
            table.column_names.index(name), name, pa.array(cells, table.schema.field(name).type)
        )

    return edit


def narrow(table: pa.Table) -> pa.Table:
    return with_cell("value", 1 << 40)(with_cell("register", 0x6020000000110000)(table))


def corrupt(at: float) -> Callable[[Path, str], Path]:
    def write(folder: Path, form: str) -> Path:
        path = SAMPLES[form](folder)
        raw = bytearray(path.read_bytes())
        middle = int(len(raw) * at)
        raw[middle : middle + 64] = bytes(64)
        path.write_bytes(raw)
        return path

    return write


def stream_edit(edit: Callable[[bytearray, int], None]) -> Callable[[Path, str], Path]:
    """Change a stream where its registers are: `edit` gets the place of their number."""

    def write(folder: Path, form: str) -> Path:
        path = SAMPLES[form](folder)
        raw = bytearray(path.read_bytes())
        at = raw.index(b"\x03cpu\0\0\0\0\0\0\0\x16") + 12 + 568
        edit(raw, at)
        path.write_bytes(raw)
        return path

    return write


def cpu_again(*, described: bool) -> Callable[[Path, str], Path]:
    """Double the section of the vCPU, or what the description says of it, there as the vCPU 1."""

    def write(folder: Path, form: str) -> Path:
        path = SAMPLES[form](folder)
        raw = path.read_bytes()
        if described:
            head, text = raw[: raw.index(b'{"configuration"') - 4], raw[raw.index(b'{"configuration"') :]
            found = json.loads(text)
            own = next(device for device in found["devices"] if device["name"] == "cpu")
            found["devices"].append(own | {"instance_id": 1})
            text = json.dumps(found).encode()
            path.write_bytes(head + len(text).to_bytes(4, "big") + text)
            return path
        start = raw.index(b"\x03cpu\0\0\0\0\0\0\0\x16") - 5
        end = raw.index(b"\x7e" + raw[start + 1 : start + 5], start) + 5
        path.write_bytes(raw[:end] + raw[start:end] + raw[end:])
        return path

    return write


def put(offset: int, value: bytes) -> Callable[[bytearray, int], None]:
    def edit(raw: bytearray, at: int) -> None:
        raw[at + offset : at + offset + len(value)] = value

    return edit


def modifiers(edit: Edit, *, inside: bool) -> Callable[[Path, str], Path]:
    def change(document: Any) -> Any:
        listed = (document["guest_cpu_config"] if inside else document)["reg_modifiers"]
        edit(listed)
        return document

    return json_edit(change)


def setting(key: str, value: Any) -> Edit:
    def edit(listed: Any) -> None:
        listed[1][key] = value

    return edit


def again(listed: Any) -> None:
    listed.append(listed[0])


def section(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path, str], Path]:
    def change(document: Any) -> Any:
        edit(document["cpu (30)"])
        return document

    return json_edit(change)


def vmstate_edit(part: float | None, *, seal: bool) -> Callable[[Path, str], Path]:
    """Flip a bit: at some part of the file, of the first id (0.0), or of the number of ids (None)."""

    def change(folder: Path, form: str) -> Path:
        path = SAMPLES[form](folder)
        data = bytearray(path.read_bytes())
        first = data.index((0x6030000000100000).to_bytes(8, "little"))
        at = first - 8 if part is None else int(len(data) * part) or first
        data[at] ^= 1
        if seal:
            data[-8:] = vmstate.checksum(bytes(data[:-8])).to_bytes(8, "little")
        path.write_bytes(data)
        return path

    return change


def state(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path, str], Path]:
    def change(document: Any) -> Any:
        one = document["snapshots"]["cpu-manager"]["snapshots"]["0"]["snapshot_data"]
        inner = json.loads(one["state"])
        edit(inner["Kvm"])
        one["state"] = json.dumps(inner)
        return document

    return json_edit(change)


def vcpu_named(name: str) -> Edit:
    """Add the only vCPU of a snapshot again, under another name."""

    def change(document: Any) -> Any:
        vcpus = document["snapshots"]["cpu-manager"]["snapshots"]
        vcpus[name] = vcpus["0"]
        return document

    return change


def with_head(folder: Path, form: str, head: bytes) -> Path:
    path = SAMPLES[form](folder)
    path.write_bytes(head + path.read_bytes()[len(head) :])
    return path


def first(edit: Edit) -> Callable[[Path, str], Path]:
    """Change the first item of a list, or of a list of Kubernetes."""

    def change(document: Any) -> Any:
        edit(document["items"][0] if isinstance(document, dict) else document[0])
        return document

    return json_edit(change)


CUT = (cut, "ends too early|Expecting|Unterminated")
NOT_UTF8 = (not_utf8, "not UTF-8")
INVENTORIES: dict[str, dict[str, tuple[Callable[[Path, str], Path], str]]] = {
    "libvirt": {
        "cut off": (cut, "not XML"),
        "not UTF-8": NOT_UTF8,
        "entities declared": (
            text_edit("<domain", '<!DOCTYPE d [<!ENTITY a "aaaa">]><domain'),
            "declares a document type",
        ),
        "emulated": (text_edit("type='kvm'", "type='qemu'"), "of type `qemu`"),
        "another architecture": (text_edit("aarch64", "x86_64"), "of architecture `x86_64`"),
        "CPU model": (text_edit("host-passthrough", "custom"), "mode of its CPU is `custom`"),
        "CPU feature unknown": (
            text_edit("name='pmu'", "name='sve128'"),
            "`sve128=off` changes registers is not",
        ),
        "feature unknown": (text_edit("<acpi/>", "<secret/>"), "`secret` changes registers is not known"),
    },
    "kubevirt": {
        "cut off": CUT,
        "not UTF-8": NOT_UTF8,
        "name missing": (first(lambda one: one["metadata"].pop("name")), "missing required field `name`"),
        "node of a wrong type": (first(lambda one: one["status"].update(nodeName=7)), "expected `str"),
        "domain missing": (first(lambda one: one["spec"].pop("domain")), "missing required field `domain`"),
        "time that is none": (
            first(lambda one: one["metadata"].update(creationTimestamp="soon")),
            "is no time",
        ),
    },
    "nova-servers": {
        "cut off": CUT,
        "not UTF-8": NOT_UTF8,
        "host of a wrong type": (first(lambda one: one.update(Host=7)), "expected `str`"),
        "id missing": (json_edit(lambda found: [found[0], {"Host": "n1-612-a"}]), "has no id"),
        "time that is none": (first(lambda one: one.update(created="soon")), "is no time"),
    },
    "nova-migrations": {
        "cut off": CUT,
        "not UTF-8": NOT_UTF8,
        "kind missing": (first(lambda one: one.pop("Type")), "no `Type`"),
        "time that is none": (first(lambda one: one.update({"Created At": "soon"})), "is no time"),
        "target missing": (first(lambda one: one.update({"Dest Compute": None})), "expected Server UUID"),
    },
    "proxmox": {
        "not UTF-8": NOT_UTF8,
        "line that is none": (text_edit("memory: 4096", "memory 4096"), "is no setting"),
        "emulated": (text_edit("cores: 4", "cores: 4\nkvm: 0"), "not run under KVM"),
        "another architecture": (text_edit("aarch64", "x86_64"), "of architecture `x86_64`"),
        "CPU missing": (text_edit("cpu: host\n", ""), "has no `cpu`"),
        "CPU option unknown": (
            text_edit("cpu: host", "cpu: host,flags=+aes"),
            "`flags=\\+aes` changes registers",
        ),
        "arguments that cannot be read": (
            text_edit("cores: 4", "args: 'a\ncores: 4"),
            "`args` cannot be read",
        ),
    },
    "births": {
        "cut off": (cut, "is no time|there are 6 columns"),
        "not UTF-8": NOT_UTF8,
        "column unknown": (text_edit("vmm\n", "colour\n"), "column `colour` is not known"),
        "cell missing": (text_edit(",qemu-9.2", ""), "there are 6 columns"),
        "time that is none": (text_edit("2026-02-01", "soon"), "is no time"),
        "name missing": (text_edit("cache-1,", ","), "has no name"),
    },
}
