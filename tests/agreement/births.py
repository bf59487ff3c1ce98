"""Register sets that follow from an inventory beside those that were really saved of the same VMs.

python -m tests.agreement.births FOLDER...

A folder has recordings of real kernels (what a vCPU had before and after its guest ran), or real streams of QEMU
(outcomes.json, registers.json.gz) of which the hosts are in one of the other folders. Each derived set must have the list
of the saved one and, of what KVM looks at, the same values but for those that guests write; and no host may be said to take
a derived set where it does not take the saved one.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import kvmfw
from kvmfw import _native
from kvmfw.errors import FormatError
from kvmfw.inventory.birth import Birth, Births
from kvmfw.inventory.guest import is_known_of
from kvmfw.inventory.history import History
from kvmfw.inventory.making import Making, making_of_cpu
from kvmfw.registers import register_name
from tests.agreement.kvm import recordings
from tests.oracle.check_qemu import Folder
from tests.oracle.recordings import Recording, value_of
from tests.realkvm.convert import ENABLED_BY_CONFIGURATION, convert, features, listed

POLICIES = ("kvm", "qemu-10.0", "qemu-11.1")
CORE_AND_SVE = (0x10, 0x15)


@dataclass(frozen=True)
class Saved:
    """A set that was saved, and how its VM was made on the host of a capture."""

    label: str
    capture: str
    making: Making
    registers: dict[int, int]
    whole: bool


@dataclass
class Tally:
    """What came of the comparison."""

    counts: Counter[str] = field(default_factory=Counter)
    not_known: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    pairs: list[tuple[kvmfw.RegisterSet, kvmfw.RegisterSet, str]] = field(default_factory=list)


def words_of(name: str, config: dict[str, Any]) -> Making:
    """How a recorded vCPU was made."""
    init = config["init"]
    words = [*features(int(init["feat"], 16)), *ENABLED_BY_CONFIGURATION.get(name, [])]
    return Making(frozenset([*words, "vgic"] if init["vgic"] else words), whole=True)


def recorded(recording: Recording) -> Iterator[Saved]:
    """The sets of a recording: what each vCPU had once its guest had run."""
    for name, config in recording.raw["configs"].items():
        after = config.get("regs_after", {}).get("mmio")
        if not config.get("regs") or after is None or config["ran"]["mmio"]["rc"]:
            continue
        rows = listed(config).values()
        values = {int(register, 16): value_of(text) for register, text, *_ in rows if text[0] != "E"}
        for register, text, *_ in (*after["changed"], *after["added"]):
            values[int(register, 16)] = value_of(text)
        for register in after["removed"]:
            values.pop(int(register if isinstance(register, str) else register[0], 16), None)
        yield Saved(f"{recording.name} {name}", recording.name, words_of(name, config), values, whole=True)


def streamed(folder: Path, captures: dict[tuple[str, ...], str]) -> Iterator[Saved]:
    """The streams of a folder whose hosts were recorded; edited ones were never saved."""
    loads = Folder(folder)
    sources = {load["source"]["stream"]: load["source"] for load in loads.loads}
    for stream, values in sorted(loads.streams.items()):
        source = sources.get(stream)
        capture = captures.get(host_key(source)) if source is not None else None
        if source is None or source.get("edited") or ".edit" in stream:
            continue
        yield Saved(stream, capture or "", making_of_cpu(source["variant"]), values, whole=False)


def host_key(told: dict[str, Any]) -> tuple[str, ...]:
    """What tells hosts apart: kernel, CPU, boot options, answers of the firmware."""
    el3 = told.get("el3_arch_features") or []
    answers = list(el3.values()) if isinstance(el3, dict) else list(el3)
    return told["kernel"], told["cpu"], told["cmdline"], str(answers[:3])


def recording_key(recording: Recording) -> tuple[str, ...]:
    """The same of the host of a recording."""
    host = recording.raw["host"]
    cmdline = " ".join(host["append"].split()[2:])
    kernel = recording.release.removesuffix("-arm64")
    return host_key({**host, "kernel": kernel, "cmdline": cmdline})


def compare(one: Saved, births: Births, tally: Tally) -> None:
    """Derive the set of one birth and compare it with the saved one."""
    try:
        born = births.registers(Birth((one.capture,), one.making, "qemu"))
    except FormatError as error:
        tally.not_known[error.problem.partition("`")[0].partition(":")[0].strip()] += 1
        return
    tally.counts["derived"] += 1
    values = born.to_mapping()
    if not one.whole:
        values = {id_: value for id_, value in values.items() if id_ >> 16 & 0xFFF not in CORE_AND_SVE}
    if values.keys() != one.registers.keys():
        different = sorted(map(register_name, values.keys() ^ one.registers.keys()))
        tally.wrong.append(f"{one.label}: another list: {', '.join(different[:8])}")
        return
    shared = list(values)
    looked_at = dict(zip(shared, _native.looked_at(shared), strict=True))
    for id_ in filter(lambda id_: looked_at[id_], shared):
        if values[id_] == one.registers[id_]:
            tally.counts["values equal"] += 1
        elif is_known_of(id_) and not is_state(id_):
            tally.wrong.append(
                f"{one.label}: {register_name(id_)}: {values[id_]:#x}, saved {one.registers[id_]:#x}"
            )
        elif is_bits(id_) and values[id_] & one.registers[id_] != one.registers[id_]:
            tally.wrong.append(f"{one.label}: {register_name(id_)} has bits that no guest was said to set")
        else:
            tally.counts["values that guests write"] += 1
    derived, real = (
        kvmfw.RegisterSet.from_mapping(one, features=born.features, vgic=born.vgic, enabled=born.enabled)
        for one in (values, one.registers)
    )
    tally.pairs.append((derived, real, one.label))


def kind_of(register: int) -> str:
    """The kind of a register of the catalogue."""
    return next((one.kind for one in kvmfw.registers() if one.id == register), "")


def is_state(register: int) -> bool:
    """Whether it is core or SVE state, or the lock that a guest takes."""
    return register >> 16 & 0xFFF in CORE_AND_SVE or kind_of(register) in ("OsLockStatus", "Gated")


def is_bits(register: int) -> bool:
    """Whether each bit of it is one that a guest sets or does not."""
    return kind_of(register) in ("PmuBits", "TimerControl")


def outcomes(tally: Tally, hosts: list[kvmfw.Host]) -> None:
    """Judge both sets of each pair on all hosts: the derived one must not be better off."""
    if not tally.pairs:
        return
    sets = [one for born, real, _ in tally.pairs for one in (born, real)]
    columns = np.arange(len(hosts))
    for vmm in POLICIES:
        fleet = kvmfw.Fleet(sets, hosts, vmm=vmm)
        rows = np.arange(len(sets)).repeat(len(hosts))
        found = fleet.validate_pairs(rows, np.tile(columns, len(sets))).reshape(
            len(tally.pairs), 2, len(hosts)
        )
        born, real = found[:, 0], found[:, 1]
        for pair, host in np.argwhere(born < real).tolist():
            words = kvmfw.Outcome(int(born[pair, host])), kvmfw.Outcome(int(real[pair, host]))
            tally.wrong.append(
                f"{tally.pairs[pair][2]} on {hosts[host].name} ({vmm}): {words[0]}, the saved set {words[1]}"
            )
        for derived, saved in zip(born.ravel().tolist(), real.ravel().tolist(), strict=True):
            same = "as the saved set" if derived == saved else "worse than the saved set"
            tally.counts[f"pairs {kvmfw.Outcome(derived)} {same}"] += 1


def check(folders: Iterable[Path], every: int = 1) -> Tally:
    """Compare everything that is in some folders, on each `every`th host."""
    paths = list(folders)
    found = [Recording(path) for folder in paths for path in recordings(folder)]
    found = [one for one in found if isinstance(one.raw, dict) and "meta" in one.raw and one.configs]
    documents = {one.name: json.dumps(convert(one.raw, one.name)) for one in found}
    names = {name: name for name in documents}
    births, tally = Births(documents, History(names, names)), Tally()
    captures: dict[tuple[str, ...], str] = {}
    for one in found:
        captures.setdefault(recording_key(one), one.name)
        for saved in recorded(one):
            tally.counts["sets of recordings"] += 1
            compare(saved, births, tally)
    for folder in (path for path in paths if (path / "outcomes.json").exists()):
        for saved in streamed(folder, captures):
            tally.counts["streams of QEMU"] += 1
            if saved.capture:
                compare(saved, births, tally)
            else:
                tally.not_known["no recording of its host"] += 1
    outcomes(tally, [kvmfw.Host.from_json(text) for text in list(documents.values())[::every]])
    return tally


def main() -> int:
    """Compare, print, and exit with 1 when anything disagrees."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    tally = check(map(Path, sys.argv[1:]))
    for what, count in sorted(tally.counts.items()):
        print(f"{count:10,}  {what}")
    for why, count in sorted(tally.not_known.items()):
        print(f"{count:10,}  not derived: {why}")
    print(f"{len(tally.wrong):10,}  wrong")
    print("\n".join(tally.wrong[:40]))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
