"""Documents of any content: read, or one sentence; never an exception of another kind."""

from __future__ import annotations

import ast
import gzip
import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmfw.documents import parsed_json, typed
from kvmfw.errors import FormatError, InputError
from kvmfw.ingest import ingest
from kvmfw.readers.analyze import analyzed_vcpus
from kvmfw.readers.cloud_hypervisor import snapshot_vcpus
from kvmfw.readers.firecracker import CpuTemplate, fingerprint_vcpus
from kvmfw.readers.qemu_cpu import Description
from kvmfw.readers.qemu_stream import read_stream
from kvmfw.testing import capture_document
from tests.support.samples import WA1

PACKAGE = Path(__file__).parents[1] / "python" / "kvmfw"
STREAM = Path(__file__).parent / "data" / "qemu" / "kvm-6.12-neoverse-n1-qemu-11.1.gz"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "`a` stands twice"),
        ('[{"b": [{"x": 0, "y": 1, "x": 0}]}]', "`x` stands twice"),
        ("[NaN]", "`NaN` is not a number"),
        ('{"a": -Infinity}', "`-Infinity` is not a number"),
        ("[1e400]", "too large"),
        (f"[{'9' * 5000}]", "5000 digits"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": ', "ends too early"),
        ("{'a': 1}", "not JSON"),
    ],
)
def test_json_that_others_take_without_a_word_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parsed_json(text)
    with pytest.raises(FormatError, match=words):
        parsed_json(text.encode())


def test_only_one_room_parses_json() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("load", "loads"):
                owner = node.value
                if isinstance(owner, ast.Name) and owner.id == "json":
                    found.add(str(path.relative_to(PACKAGE)))
    # The probe runs alone on a host, without the package.
    assert found == {"documents.py", "probe.py"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "snapshots",
                        "cpu-manager",
                        "0",
                        "snapshot_data",
                        "state",
                        "sys_regs",
                        "core_regs",
                        "id",
                    ),
                    *("addr", "data", "extended_regs", "Kvm", "guest_cpu_config", "reg_modifiers", "bitmap"),
                    *("index", "vcpu_features", "kernel_version", "cpu (0)", "cpreg_vmstate_indexes"),
                    *("cpreg_vmstate_values", "cpreg_vmstate_array_len", "devices", "name", "fields", "size"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_a_document_of_any_types_is_read_or_refused_in_one_sentence(document: Any) -> None:
    walkers = (
        lambda: snapshot_vcpus(document, "a"),
        lambda: fingerprint_vcpus(document, "a"),
        lambda: CpuTemplate.of_document(document),
        lambda: analyzed_vcpus(document if isinstance(document, dict) else {}, "a"),
        lambda: typed(document, Description),
    )
    for walk in walkers:
        try:
            walk()
        except InputError as error:
            assert str(error).strip()  # noqa: PT017


def _described(document: Any) -> bytes:
    """Give a stream of one section ``cpu`` with this description."""
    data = bytes(568) + struct.pack(">iQQ", 1, 0x6030000000140001, 1)
    section = b"\x04" + struct.pack(">IB3sII", 1, 3, b"cpu", 0, 22) + data + b"\x7e" + struct.pack(">I", 1)
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"QEVM" + struct.pack(">I", 3) + section + b"\x00\x06" + struct.pack(">I", len(text)) + text


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"devices": "x"}, "expected `array`"),
        ({"devices": [{"name": "cpu", "instance_id": 0, "fields": [{"size": 8}]}]}, "field `name`"),
        ({"devices": [{"name": "cpu", "fields": [{"name": "a", "size": "8"}]}]}, "expected `int`"),
        ({"devices": [{"name": "cpu", "fields": [{"name": "a", "size": -8}]}]}, ">= 0"),
        (b'{"devices": [{"name": "cpu", "fields": [{"name": "a", "size": 1e999}]}]}', "too large"),
        ({"devices": [{"instance_id": 0}]}, "field `name`"),
        ([], "expected `object`"),
    ],
)
def test_a_description_of_other_types_is_one_sentence(description: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(_described(description))
    with pytest.raises(FormatError, match=f"description: .*{words}") as raised:
        read_stream(path)
    assert raised.value.file == str(path)


def test_one_bad_document_does_not_stop_an_intake_that_collects(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.bin").write_bytes(_described({"devices": "x"}))
    (sources / "b.json").write_text('{"snapshots": {"cpu-manager": "x"}}')
    (sources / "c.json").write_text(
        '{"reg_modifiers": [], "vcpu_features": [{"index": "x", "bitmap": "0b1"}]}'
    )
    (sources / "d.json").write_text('{"snapshots": ' + "9" * 5000 + "}")
    (sources / "host.json").write_text(json.dumps(capture_document({WA1: 2}, name="h")))
    found = ingest([sources], tmp_path / "fleet", on_error="collect")
    assert (found.hosts, found.vms) == (1, 0)
    assert sorted(Path(reject.source).name for reject in found.rejects) == [
        "a.bin",
        "b.json",
        "c.json",
        "d.json",
    ]


def test_a_long_section_takes_time_by_its_length(tmp_path: Path) -> None:
    """A section of 60 MiB that does not end took 15 s of copies."""
    path = tmp_path / "stream.gz"
    head = b"QEVM" + struct.pack(">I", 3) + b"\x04" + struct.pack(">IB3sII", 1, 3, b"dev", 0, 1)
    path.write_bytes(gzip.compress(head + bytes(60 << 20), 1))
    before = time.process_time()
    with pytest.raises(FormatError, match="does not end"):
        read_stream(path)
    assert time.process_time() - before < 5


def test_real_streams_have_descriptions_that_are_looked_at() -> None:
    stream = read_stream(STREAM)
    assert stream.description is not None
    assert {device.name for device in stream.description.devices} > {"cpu", "timer"}
    assert stream.registers(0) == stream.registers(0, described=False)
