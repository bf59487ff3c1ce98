"""What to do about a message, by what it is about; about a rule: `kvmfw.telling.cures`."""

from __future__ import annotations

from kvmfw.messages.forms import About
from kvmfw.messages.told import Told
from kvmfw.rules import Rule
from kvmfw.telling.cures import what_to_do

__all__ = ["cure_of"]


def cure_of(told: Told, rule: Rule | None) -> str:
    """Give what to do, in one sentence."""
    if told.about is About.PASSED:
        return "nothing: the test passed"
    if told.about is About.MACHINE:
        return "give both ends the same machine type; no register was looked at"
    if rule is None:
        return (
            "the message does not say which register: judge the VM against the host's capture, "
            "`kvmfw validate VM HOST`; QEMU names it from 10.2 on, Firecracker always"
        )
    if told.errno == "EBUSY":
        return "the register is fixed once the VM has run: write it before the first run"
    return what_to_do(rule.id)
