"""From what is told of a VM to its register set: made by the KVM where it was started, then by each to which it went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError
from kvmfw.inventory.guest import as_written_most, is_known_of
from kvmfw.inventory.history import History
from kvmfw.inventory.making import GICV2, GICV3, Making, made_on
from kvmfw.inventory.told import Told
from kvmfw.readers.homes import nearest
from kvmfw.readers.vcpu import ENABLED, FEATURES
from kvmfw.registers import named, register_name
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Finding, Outcome, validate
from kvmfw.vmms import find_vmm

__all__ = ["Birth", "Births"]

_QEMU: Final = "qemu"
_FIRST_RUN: Final = "KVMFW-FIRST-RUN"
_VGIC_V2: Final = named("VGIC_V2")


@dataclass(frozen=True, slots=True)
class Birth:
    """How a VM came to have its registers.

    Attributes
    ----------
    captures : tuple of str
        The captures of the hosts, by key: the first where it was started, then each to which it went with its registers.
    making : Making
        How its vCPUs were made.
    vmm : str
        Which VMM made and moved them.
    is_assumed : bool
        Whether nothing says that the VM was started there.
    """

    captures: tuple[str, ...]
    making: Making
    vmm: str
    is_assumed: bool = False


class Births:
    """Births of VMs, and the register sets that follow from them.

    Parameters
    ----------
    documents : mapping of str to str
        Captures by key, as JSON.
    history : History
        Which of them speaks for which host, and when.
    cpu : Making, optional
        How vCPUs were made where no source says it.
    born_here : bool
        Whether VMs of which nothing else is known are taken to have been started where they run.
    """

    def __init__(
        self,
        documents: Mapping[str, str],
        history: History,
        *,
        cpu: Making | None = None,
        born_here: bool = False,
    ) -> None:
        self._documents, self._history = documents, history
        self._cpu, self._born_here = cpu, born_here
        self._hosts: dict[str, tuple[Host, dict[str, Any]]] = {}
        self._made: dict[Birth, RegisterSet | FormatError] = {}

    def home_of(self, told: Told) -> str | None:
        """Give the host that a VM runs on."""
        if told.host is not None:
            return told.host
        if told.path:
            return told.path[-1]
        if told.moves:
            return max(told.moves, key=lambda move: move.when).target
        return told.folder if told.folder in self._history.hosts else None

    def of(self, told: Told) -> Birth:
        """Find out how a VM came to have its registers.

        Raises
        ------
        FormatError
            When that is not known; the sentence says what would tell it.
        """
        making = told.making or self._cpu
        if making is None:
            raise FormatError(
                f"nothing says how the vCPUs of `{told.vm}` were made (`--cpu host` says it for all such VMs)"
            )
        vmm = told.vmm or _QEMU
        if find_vmm(vmm).family not in (_QEMU, "kvm"):
            problem = f"which registers {vmm} changes when it makes a vCPU is not known"
            raise FormatError(f"{problem}; take its snapshot, which is read as it is")
        home = self.home_of(told)
        if told.moves:
            return Birth(self._moved(told, home), making, vmm)
        captures, is_assumed = self._captures(told, home)
        return Birth(captures, making, vmm, is_assumed)

    def _captures(self, told: Told, home: str | None) -> tuple[tuple[str, ...], bool]:
        history = self._history
        born = told.born
        if born is None and home is not None and told.is_native:
            born = home
        is_assumed = born is None and self._born_here and told.is_native is None
        if is_assumed:
            born = home
        if born is None:
            where = "" if home else f", nor where it runs{self._folder(told)}"
            came = ", and it came by migration" if told.is_native is False else ""
            means = "a column `born` or a list of migrations" + (
                "" if came else ", or --born-here if no VM has moved"
            )
            raise FormatError(f"nothing says where `{told.vm}` was started{where}{came}: {means}")
        if home is None or home == born:
            return (history.now(born) if home else history.at(born, told.since),), is_assumed
        between = [history.at(host, None) for host in told.path[:-1]]
        return (history.at(born, told.since), *between, history.now(home)), is_assumed

    def _folder(self, told: Told) -> str:
        """Say why the folder of a file does not tell the host."""
        hosts = list(self._history.hosts)
        if not hosts:
            return " (the fleet has no host: take captures in as well)"
        if told.folder is None:
            return ""
        near = nearest(told.folder, hosts)
        return f" (no host is called as its folder, `{told.folder}`" + (
            f"; the nearest is `{near}`)" if near else ")"
        )

    def _moved(self, told: Told, home: str | None) -> tuple[str, ...]:
        moves = sorted(told.moves, key=lambda move: move.when)
        born, since, hops = told.born or moves[0].source, told.since, []
        at = moves[0].source
        for move in moves:
            if move.source != at:
                raise FormatError(f"`{told.vm}` went from `{move.source}`, but it was on `{at}`")
            at = move.target
            if move.live:
                hops.append((move.target, move.when))
            else:
                born, since, hops = move.target, move.when, []
        if home != at:
            raise FormatError(f"`{told.vm}` runs on `{home}`, but its last move went to `{at}`")
        if not hops:
            return (self._history.now(born),)
        between = [self._history.at(host, when) for host, when in hops[:-1]]
        return (self._history.at(born, since), *between, self._history.now(at))

    def sentence(self, birth: Birth) -> str:
        """Say where a VM was born, and where it came to since."""
        born, *came = (self._host(capture)[0].name for capture in birth.captures)
        return (
            ("taken to be " if birth.is_assumed else "")
            + f"born on {born}"
            + "".join(f", came to {name}" for name in came)
        )

    def registers(self, birth: Birth) -> RegisterSet:
        """Derive the register set of a birth; the set has no name.

        Raises
        ------
        FormatError
            When a capture was not asked for such a vCPU, or does not tell what becomes of it.
        """
        found = self._made.get(birth)
        if found is None:
            try:
                found = self._derived(birth)
            except FormatError as error:
                found = error
            self._made[birth] = found
        if isinstance(found, FormatError):
            raise FormatError(found.problem)
        return found

    def _host(self, capture: str) -> tuple[Host, dict[str, Any]]:
        if capture not in self._hosts:
            text = self._documents[capture]
            document = parsed_json(text)
            if document.get("format") != "kvmfw-capture":
                raise FormatError(
                    "what spoke for its host is no capture of kvmfw: it does not say what the host offers"
                )
            self._hosts[capture] = Host.from_json(text), document
        return self._hosts[capture]

    def _derived(self, birth: Birth) -> RegisterSet:
        host, document = self._host(birth.captures[0])
        words = made_on(birth.making, document)
        if "has_el2" in words:
            raise FormatError(
                "the registers of a nested VM's own hypervisor are its guest's: no inventory knows them"
            )
        fresh = _fresh(host, words)
        values = fresh.to_mapping(beside=True) | ({_VGIC_V2: 1} if GICV2 in words else {})
        if birth.making.psci is not None:
            values[named("PSCI_VERSION")] = birth.making.psci
        made = _run(_with(fresh, values), host)
        for capture in birth.captures[1:]:
            made = _arrived(made, self._host(capture)[0], birth.vmm)
        return made


def _with(made: RegisterSet, values: Mapping[int, int]) -> RegisterSet:
    return RegisterSet.from_mapping(values, features=made.features, vgic=made.vgic, enabled=made.enabled)


def _fresh(host: Host, words: frozenset[str]) -> RegisterSet:
    features = [word for word in FEATURES if word in words]
    enabled = [word for word in ENABLED if word in words]
    fresh = host.fresh_set(features=features, vgic=GICV3 in words, enabled=enabled)
    if fresh is None:
        listed = ",".join(sorted(words)) or "no features"
        raise FormatError(
            f"the host of `{host.name}` was not asked for a vCPU with {listed}, or refused it; probe it again"
        )
    may_list, bits = host.unknown(features=features, vgic=GICV3 in words, enabled=enabled)
    if may_list or bits:
        first = register_name(next(iter([*bits, *may_list])))
        raise FormatError(
            f"what such a VM has on `{host.name}` depends on the CPU on which it was made, or is not known ({first})"
        )
    return fresh


def _run(made: RegisterSet, host: Host) -> RegisterSet:
    """Give what is there once the VM has run on its host, with what its guest may have written."""
    verdict = validate(made, host)
    values = made.to_mapping(beside=True)
    for finding in verdict.findings:
        if finding.outcome is Outcome.REFUSE and finding.saved is not None and finding.saved != finding.own:
            raise FormatError(f"it cannot have been started so on `{host.name}`: {finding.sentence}")
        if finding.rule == _FIRST_RUN:
            _apply(finding, values, host)
    return _with(made, as_written_most(values, host, pmu="pmu_v3" in made.features))


def _apply(finding: Finding, values: dict[int, int], host: Host) -> None:
    """Do to a register what its host does to it."""
    register = finding.register
    if register is None or finding.outcome >= Outcome.UNKNOWN:
        raise FormatError(f"what becomes of it on `{host.name}` is not known: {finding.sentence}")
    if finding.reads is not None:
        values[register] = finding.reads
    elif finding.rule == _FIRST_RUN and finding.effect == "dropped":
        values.pop(register, None)
    elif finding.effect != "defaulted" and is_known_of(register):
        raise FormatError(f"what it reads on `{host.name}` is not known: {finding.sentence}")


def _arrived(made: RegisterSet, host: Host, vmm: str) -> RegisterSet:
    """Give what is there once a VM came to another host: its list, with what it took of the VM's values."""
    verdict = validate(made, host, vmm=vmm)
    if verdict.outcome >= Outcome.UNKNOWN:
        worst = max(verdict.findings, key=lambda finding: finding.outcome)
        said = "cannot have come" if verdict.outcome is Outcome.REFUSE else "may or may not have come"
        raise FormatError(
            f"it {said} to `{host.name}` with the registers that it was started with: {worst.sentence}"
        )
    words = frozenset((*made.features, *made.enabled, *([GICV3] if made.vgic else [])))
    own, saved = (one.to_mapping(beside=True) for one in (_fresh(host, words), made))
    values = {register: saved.get(register, value) for register, value in own.items()}
    values |= {register: value for register, value in saved.items() if register == _VGIC_V2}
    for finding in verdict.findings:
        if finding.register in own:
            _apply(finding, values, host)
    return _with(made, as_written_most(values, host, pmu="pmu_v3" in made.features))
