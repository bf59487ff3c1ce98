"""What to do about a message, by what it is about; about a rule: `kvmfw.telling.cures`."""

from __future__ import annotations

from kvmfw.messages.forms import About
from kvmfw.messages.told import Told
from kvmfw.rules import Rule
from kvmfw.telling.cures import what_to_do

__all__ = ["cure_of"]

_UNSAID = (
    "the message does not say which register: judge the VM against the host's capture, "
    "`kvmfw validate VM HOST`; QEMU names it from 10.2 on, Firecracker always. A VM that fails so where it starts anew "
    "runs on unlike cores: pin it to cores of one kind"
)
_SAVED_NOWHERE = (
    "no target refused anything: the VMM could not read what it wanted to save, on the host where the VM runs; "
    "`kvmfw vmms` tells what its releases save"
)
_ABOUT = {
    About.PASSED: "nothing: the test passed",
    About.MACHINE: "give both ends the same machine type; no register was looked at",
    About.MODEL: "give the VM the CPU of its host (`-cpu host`, host-passthrough): KVM has no other for it",
    About.READ: _SAVED_NOWHERE,
    About.SAVE: _SAVED_NOWHERE,
    About.TAKEN: "nothing for VMs: the test is of another release than the kernel",
    About.LOAD: "read the lines before it: the first that names a register or a device says why",
    About.MOVE: "give `kvmfw why` the end of /var/log/libvirt/qemu/VM.log on the target: what the QEMU there said stands in it",
}


def cure_of(told: Told, rule: Rule | None) -> str:
    """Give what to do, in one sentence."""
    if told.about in _ABOUT:
        return _ABOUT[told.about]
    if rule is None:
        return _UNSAID
    if told.errno == "EBUSY":
        return "the register is fixed once the VM has run: write it before the first run"
    return what_to_do(rule.id)
