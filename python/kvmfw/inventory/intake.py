"""Inventories as a fleet takes them in: all that is told of each VM, put together when every source was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from kvmfw.errors import FormatError
from kvmfw.inventory.birth import Birth, Births
from kvmfw.inventory.history import Period
from kvmfw.inventory.making import Making
from kvmfw.inventory.told import Told, joined
from kvmfw.readers.blocks import Block, block_of_alike
from kvmfw.readers.rejects import Intake
from kvmfw.store import Draft

__all__ = ["Inventory"]

_AT_ONCE = 1 << 11


@dataclass(slots=True)
class Inventory:
    """What inventories tell of VMs.

    Attributes
    ----------
    cpu : Making or None
        How vCPUs were made where no source says it.
    born_here : bool
        Whether VMs of which nothing else is known are taken to have been started where they run.
    born, assumed : int
        Of how many VMs the register sets were derived; of how many only because of `born_here`.
    """

    cpu: Making | None = None
    born_here: bool = False
    born: int = 0
    assumed: int = 0
    _told: dict[str, list[Told]] = field(default_factory=dict)
    _periods: list[Period] = field(default_factory=list)
    _moves_known: set[str] = field(default_factory=set)
    _kinds: dict[str, set[str]] = field(default_factory=dict)

    def add(self, kind: str, told: Iterable[Told], *, moves_of: str | None = None) -> None:
        """Add what a source of a format tells; a VM of the format `moves_of` that it does not name never moved."""
        if moves_of is not None:
            self._moves_known.add(moves_of)
        for one in told:
            self._told.setdefault(one.vm, []).append(one)
            self._kinds.setdefault(one.vm, set()).add(kind)

    def add_history(self, periods: Iterable[Period]) -> None:
        """Add which capture spoke for which host before."""
        self._periods.extend(periods)

    def take_in(self, draft: Draft, intake: Intake) -> None:
        """Derive the register sets of all VMs and add them to a fleet; VMs of which too little is known are rejected.

        A VM whose registers were taken in as they were saved keeps those.
        """
        documents, history = draft.history()
        history.periods = self._periods
        draft.forget_captures(one.capture for one in self._periods)
        births = Births(documents, history, cpu=self.cpu, born_here=self.born_here)
        alike: dict[Birth, list[tuple[Told, int]]] = {}
        for vm, tellings in self._told.items():
            if draft.has_vm(vm) or all(one.is_move_only for one in tellings):
                intake.use(len(tellings))
                continue
            try:
                told = joined(tellings)
                if not told.moves and self._kinds[vm] & self._moves_known:
                    told = replace(told, is_native=True)
                birth = births.of(told)
                births.registers(birth)
            except FormatError as error:
                for one in tellings:
                    if one.row < 0:
                        intake.reject_source(one.source, FormatError(error.problem, file=one.source))
                    else:
                        intake.reject(one.source, one.row, error.problem)
                continue
            alike.setdefault(birth, []).append((told, len(tellings)))
        for birth, vms in alike.items():
            self.born += len(vms)
            self.assumed += len(vms) if birth.is_assumed else 0
            for block in _blocks(births, birth, vms):
                draft.add_block(block, vms[0][0].source, intake)


def _blocks(births: Births, birth: Birth, vms: list[tuple[Told, int]]) -> Iterator[Block]:
    registers, sentence = births.registers(birth), births.sentence(birth)
    for start in range(0, len(vms), _AT_ONCE):
        some = vms[start : start + _AT_ONCE]
        homes = [births.home_of(told) for told, _ in some]
        names, rows = [told.vm for told, _ in some], [count for _, count in some]
        yield block_of_alike(registers, names, homes, rows, born=sentence, vmm=birth.vmm)
