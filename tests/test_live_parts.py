"""The parts of the live runs that need no emulated machine."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live import archive, compare, guest, hosts
from tests.live import run as live
from tests.live.edits import edited
from tests.live.guest import Cpio
from tests.live.hosts import Host
from tests.live.machine import Boot, BootError, Output, parse_console
from tests.support import sections
from tests.support.fakekvm import FakeKvm
from tests.support.probing import probe

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]


def test_edits_are_the_same_for_the_same_seed_and_keep_to_their_registers() -> None:
    one = {
        "id": "a",
        "registers": {"0x6030000000140000": "0x10001", "0x603000000013c020": "0x12", "0x10": "0x5"},
    }
    copies = [edited(one, seed) for seed in range(20)]
    assert copies == [edited(one, seed) for seed in range(20)]
    assert {copy["registers"]["0x10"] for copy in copies} == {"0x5"}
    assert len({copy["registers"]["0x603000000013c020"] for copy in copies}) > 3
    assert len({copy["registers"]["0x6030000000140000"] for copy in copies}) > 3


def test_edits_of_the_pmu_give_both_names_of_a_register_one_value() -> None:
    pair = ("0x603000000013dce1", "0x603000000013dce2")
    registers = dict.fromkeys(["0x603000000013dce0", "0x603000000013dce4", *pair], "0x3000")
    copies = [edited({"id": "a", "registers": registers}, seed)["registers"] for seed in range(30)]
    assert all(copy[pair[0]] == copy[pair[1]] and copy.keys() == registers.keys() for copy in copies)
    assert len({copy[pair[0]] for copy in copies}) > 3
    assert len({copy["0x603000000013dce0"] for copy in copies}) > 3


def console(body: bytes, cut: int = 0) -> str:
    text = base64.b64encode(gzip.compress(body)).decode()
    lines = [text[at : at + 20] for at in range(0, len(text), 20)]
    head = json.dumps({"name": "probe", "exit": 0, "seconds": 1.5, "lines": len(lines)})
    marked = ["noise", f"@KVMFW {head}", *[f"@K {line}" for line in lines[cut:]], "@KVMFW-END probe"]
    return "\r\n".join(marked)


def test_output_comes_back_whole_from_the_console() -> None:
    output = parse_console(console(b"x" * 1000))["probe"]
    assert (output.body, output.exit, output.seconds) == (b"x" * 1000, 0, 1.5)


def test_torn_output_is_an_error() -> None:
    with pytest.raises(BootError, match="lines arrived"):
        parse_console(console(b"x" * 1000, cut=1))


def test_hosts_are_named_as_recordings_are() -> None:
    assert Host("6.1.0-56-arm64", "max,sve=off", "").name == "6.1.0-56-arm64__max+sveoff__default"
    assert Host("k", "max", "mitigations=off").name == "k__max__mitigations-off"
    assert Host("k", "max", "kvm-arm.mode=nested").name == "k__max__nested"
    assert Host("k", "max", "", "gic-version=2").name == "k__max__default.gic-version-2"


def test_the_initramfs_is_a_cpio_archive(tmp_path: Path) -> None:
    cpio = Cpio()
    cpio.file("usr/bin/tool", b"body", 0o755)
    cpio.link("lib", "usr/lib")
    cpio.device("dev/console", 5, 1)
    body = cpio.bytes()
    assert len(body) % 512 == 0
    try:
        listing = subprocess.run(
            ["cpio", "-itv", "--quiet"], input=body, capture_output=True, check=True, cwd=tmp_path
        )
    except FileNotFoundError:
        pytest.skip("cpio is not installed")
    text = listing.stdout.decode()
    assert "usr/bin/tool" in text
    assert "lib -> usr/lib" in text


def test_versions_sort_by_number() -> None:
    assert sorted(["5.10.0-9", "5.10.0-32", "5.10.0-4"], key=archive.natural) == [
        "5.10.0-4",
        "5.10.0-9",
        "5.10.0-32",
    ]


def captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Json]:
    monkeypatch.setattr(probe.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(probe, "Kvm", FakeKvm)
    monkeypatch.setattr(probe, "settle_on_one_processor", lambda: 0)
    path = tmp_path / "one.json"
    assert probe.main(["--only", "psci02,gic3", "-o", str(path)]) == 0
    return path, json.loads(path.read_text())


def test_a_capture_equals_itself_and_any_other_answer_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, capture = captures(tmp_path, monkeypatch)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(capture))
    assert compare.main([str(path), str(other)]) == 0
    nibbles = next(one for one in capture["answers"] if one.get("nibbles"))["nibbles"]
    nibbles["0"] = "i" + nibbles["0"][1:]
    other.write_text(json.dumps(capture))
    assert compare.main([str(path), str(other)]) == 2
    assert "0x0 at bit 0: . against i" in capsys.readouterr().out


def test_what_only_one_asked_does_not_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, capture = captures(tmp_path, monkeypatch)
    capture["answers"] = capture["answers"][:1]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(capture))
    assert compare.main([str(path), str(other)]) == 0


# ---------------------------------------------------------------- the cache


def test_what_was_left_half_full_is_filled_anew(tmp_path: Path) -> None:
    tree = tmp_path / "qemu" / "suite"

    def killed() -> None:
        (tree / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.whole(tree, killed)
    assert (tree / "half").exists()
    assert archive.whole(tree, (tree / "all").touch) == tree
    assert sorted(path.name for path in tree.iterdir()) == ["all", "whole"]

    def never() -> None:
        raise AssertionError("a whole folder is made again")

    archive.whole(tree, never)


def package(tmp_path: Path) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN" / "control").write_text(
        "Package: one\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: none\n"
    )
    (content / "boot").mkdir()
    (content / "boot" / "vmlinuz").write_bytes(os.urandom(200_000))
    (content / "other").write_text("other")
    subprocess.run(["dpkg-deb", "--build", str(content), str(tmp_path / "one.deb")], check=True)
    return tmp_path / "one.deb"


def test_a_package_is_unpacked_as_far_as_it_is_wanted(tmp_path: Path) -> None:
    archive.unpack(package(tmp_path), tmp_path / "to", "./boot/vmlinuz*", "./nowhere/*")
    assert [path.name for path in (tmp_path / "to").rglob("*") if path.is_file()] == ["vmlinuz"]


@pytest.mark.parametrize("patterns", [(), ("./boot/vmlinuz*",)])
def test_a_damaged_package_is_an_error(tmp_path: Path, patterns: tuple[str, ...]) -> None:
    damaged = package(tmp_path)
    damaged.write_bytes(damaged.read_bytes()[:-60_000])
    with pytest.raises(archive.ArchiveError, match="could not be unpacked"):
        archive.unpack(damaged, tmp_path / "to", *patterns)


# ---------------------------------------------------------------- hosts that hang, and this process's own end


class Slow:
    """An emulator on which one kernel hangs."""

    timeout = 1234.0

    def __init__(self, slow: str) -> None:
        self.slow = slow
        self.booted: list[str] = []
        self.jobs = ["probe", "save", "nobody"]

    def boot(self, kernel: Path, *_: Any) -> Boot:
        self.booted.append(kernel.name)
        if kernel.name == self.slow:
            raise BootError(f"{kernel.name} did not finish: no end after 1234 s")
        answers = {code: Output(code, 1.0, b"" if code else b'{"sets": []}\n') for code in (0, 1)}
        outputs = {name: answers[name == "nobody"] for name in self.jobs}
        return Boot(1.0, outputs, "kvmfw probe: /dev/kvm may not be opened by this user")


def slow_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str) -> tuple[hosts.Hosts, Slow]:
    monkeypatch.setattr(guest, "base_image", lambda *_: b"")
    emulator = Slow(slow)
    made: Any = hosts.Hosts
    found: hosts.Hosts = made(emulator, tmp_path, tmp_path / "keep", lambda _: None)
    for name in ("one", "two", "three"):
        found.know(name, Path(name))
    return found, emulator


def test_one_slow_host_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, emulator = slow_hosts(tmp_path, monkeypatch, "two")
    known = [Host(name, "max", "") for name in ("one", "two", "three")]
    lost: dict[str, str] = {}
    assert live.recorded(found, known, False, lost) == [known[0], known[2]]
    assert emulator.booted == ["one", "two", "three"]
    assert lost == {"two__max__default": "two did not finish: no end after 1234 s"}


def test_the_probe_is_given_as_long_as_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, emulator = slow_hosts(tmp_path, monkeypatch, "")
    asked: list[Any] = []

    def job_image(jobs: list[Any], _: dict[str, bytes]) -> bytes:
        asked.extend(jobs)
        return b""

    monkeypatch.setattr(guest, "job_image", job_image)
    found.record(Host("one", "max", ""), False)
    emulator.jobs = ["kvm"]
    found.restore(Host("one", "max", ""), {"kvm": [{"id": "one"}]})
    limits = [job["argv"][job["argv"].index("--time-limit") + 1] for job in asked if not job.get("nobody")]
    assert limits == ["1234.0"] * 3


EMULATOR = """#!/bin/sh
echo $$ > {pid}
exec sleep 600
"""
RUN = """
import sys
from pathlib import Path
from tests.live.machine import Emulator, stop_when_told
stop_when_told()
try:
    Emulator([sys.argv[1]]).boot(Path("kernel"), "max", "", b"")
except KeyboardInterrupt:
    sys.exit(1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_emulator_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    script, pid = tmp_path / "emulator", tmp_path / "pid"
    script.write_text(EMULATOR.format(pid=pid))
    script.chmod(0o755)
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen([sys.executable, "-c", RUN, str(script)], cwd=ROOT, env=environment) as running:
        wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
        emulator = int(pid.read_text())
        running.send_signal(number)
        code = running.wait(timeout=20)
    wait_for(lambda: not Path(f"/proc/{emulator}").exists())
    if number != signal.SIGKILL:
        assert code == 1
        assert list(folder.iterdir()) == []


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited for nothing"
        time.sleep(0.05)


NAMES = [
    *("linux-image-6.12-arm64", "linux-image-6.12.43+deb12-arm64", "linux-image-6.12.117+deb13-arm64"),
    *(
        "linux-image-6.12.117+deb13-arm64-16k",
        "linux-image-6.12.9+deb13-arm64-16k",
        "linux-image-6.12-arm64-16k",
    ),
    *("linux-binary-7.3.4+deb13-arm64", "linux-image-7.3.4+deb13-arm64", "linux-image-6.1.0-56-arm64"),
    "linux-image-6.12.117+deb13-cloud-arm64",
]


@pytest.mark.parametrize(
    ("release", "packages"),
    [
        ("6.12", ["linux-image-6.12.117+deb13-arm64"]),
        ("6.12.43+deb12", ["linux-image-6.12.43+deb12-arm64"]),
        ("6.12-16k", ["linux-image-6.12.117+deb13-arm64-16k", "linux-image-6.12.9+deb13-arm64-16k"]),
        ("7.3.4+deb13", ["linux-binary-7.3.4+deb13-arm64"]),
        ("6.1.0-56", ["linux-image-6.1.0-56-arm64"]),
        ("7.3-16k", []),
        ("6.12-cloud", ["linux-image-6.12.117+deb13-cloud-arm64"]),
    ],
)
def test_a_release_is_looked_for_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, packages: list[str]
) -> None:
    class Names:
        def names(self, pattern: str) -> list[str]:
            return [name for name in NAMES if re.fullmatch(pattern, name)]

    monkeypatch.setattr(archive, "Root", lambda *_: Names())
    assert archive.Kernels(tmp_path, lambda _: None)._packages(release) == packages


def test_the_document_of_agreement_has_a_section_of_each_mode_that_writes_one() -> None:
    text = (Path(__file__).parents[1] / "docs" / "agreement.md").read_text()
    assert [name for name in sections.OF_OTHERS if not sections.of(text, name)] == []
