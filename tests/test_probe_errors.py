"""The probe writes all or nothing, and says in one sentence what went wrong."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.fakekvm import FakeKvm
from tests.support.probing import PROBE, ROOT, arm, probe, sentence, use


@pytest.fixture(autouse=True)
def arm_host(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch)


# ---------------------------------------------------------------- all or nothing


def test_output_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--quick"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["format"] == "kvmfw-capture"
    assert said.err == ""


def test_an_older_capture_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "host.json"
    target.write_text("older")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(probe.os, "fsync", full)
    assert probe.main(["--quick", "-o", str(target)]) == 1
    assert "cannot be written: No space left" in sentence(capsys)
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


SLOW = """
import sys, time
sys.path.insert(0, {root!r})
from tests import test_probe
probe = test_probe.probe
probe.platform.machine = lambda: "aarch64"
probe.settle_on_one_processor = lambda: 0
probe.Kvm = lambda path: test_probe.FakeKvm(path, delay={delay})
if {slow_write}:
    probe.os.fsync = lambda descriptor: (print("writing", flush=True), time.sleep(30))
else:
    print("asking", flush=True)
sys.exit(probe.guarded([*{more!r}, "--quick", "-o", {target!r}]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("slow_write", [False, True])
def test_killed_in_the_middle_it_leaves_no_half_written_capture(
    tmp_path: Path, number: signal.Signals, slow_write: bool
) -> None:
    target = tmp_path / "host.json"
    code = SLOW.format(
        root=str(ROOT), delay=0 if slow_write else 0.01, slow_write=slow_write, target=str(target), more=[]
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        time.sleep(0.05)
        running.send_signal(number)
        _, said = running.communicate(timeout=10)
    assert not target.exists()
    if number != signal.SIGKILL:
        assert running.returncode == 1
        assert b"Interrupted; nothing was written." in said
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hangs", [False, True])
def test_the_time_limit_is_kept_and_leaves_nothing(hangs: bool, tmp_path: Path) -> None:
    """Also where a call does not return: then no signal is handled and no exception can be raised (KVM bugs are such)."""
    target = tmp_path / "host.json"
    code = SLOW.format(
        root=str(ROOT), delay=0.01, slow_write=False, target=str(target), more=["--time-limit", "1"]
    )
    if hangs:
        hung = "def hung(*_):\n    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n    time.sleep(60)\n"
        code = code.replace(
            "sys.exit(", f"import signal\n{hung}test_probe.FakeKvm.create_vm = hung\nsys.exit("
        )
    started = time.monotonic()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    told = "kvmfw probe: The time limit of 1 s is over and nothing was written: give --time-limit more, or --quick."
    assert found.stderr.splitlines()[-1] == told
    assert 1 <= time.monotonic() - started < 30
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_is_told(tmp_path: Path) -> None:
    target = tmp_path / "host.json"
    code = SLOW.format(root=str(ROOT), delay=0, slow_write=False, target=str(target), more=[])
    code = code.replace(
        "sys.exit(", "import os\ntest_probe.FakeKvm.create_vm = lambda *_: os.kill(os.getpid(), 9)\nsys.exit("
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, "killed by signal 9; nothing was written" in found.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- errors, one sentence each


def test_another_architecture_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe.platform, "machine", lambda: "x86_64")
    assert probe.main([]) == 1
    assert sentence(capsys) == "This machine is x86_64: only the KVM of an arm64 host can be asked."


@pytest.fixture
def real_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "Kvm", REAL_KVM)


REAL_KVM = probe.Kvm


@pytest.mark.usefixtures("real_layer")
def test_a_missing_device_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--device", str(tmp_path / "kvm")]) == 1
    assert sentence(capsys) == f"There is no {tmp_path / 'kvm'}: this host's kernel offers no KVM."


@pytest.mark.usefixtures("real_layer")
def test_missing_permission_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(probe.os, "open", refuse)
    assert probe.main([]) == 1
    assert sentence(capsys).startswith("/dev/kvm may not be opened by this user: run as root or as a member")


@pytest.mark.usefixtures("real_layer")
def test_a_device_that_is_not_kvm_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--device", "/dev/null"]) == 1
    assert sentence(capsys).startswith("/dev/null is not KVM")


def test_a_kvm_that_makes_no_vm_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, refuse_vm=errno.ENOMEM)
    monkeypatch.setattr(probe, "text_of", lambda _: "0x410fd0c0")
    assert probe.main([]) == 1
    assert sentence(capsys) == "KVM refused to make a VM: ENOMEM."
    assert FakeKvm.open_things == 0


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere" / "host.json"
    assert probe.main(["--quick", "-o", str(path)]) == 1
    assert sentence(capsys) == f"{path} cannot be written: No such file or directory."


def test_wrong_usage_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--time-limit", "0"], ["--nonsense"], ["--only", "wings"], ["validate"]):
        with pytest.raises(SystemExit) as stop:
            probe.main(words)
        assert stop.value.code == 1
    assert capsys.readouterr().out == ""


def test_the_probe_itself_is_printed() -> None:
    found = run("probe", "--print-script")
    assert found.exit_code == 0
    assert found.stdout == PROBE.read_text()
