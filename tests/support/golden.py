"""Golden vectors: the hand-written cases of tests/vectors, read strictly (its README tells the format)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import kvmfw

FOLDER = Path(__file__).parents[1] / "vectors"
MASKS_CAPABILITY = "230"
USER_MEMORY = "3"  # every KVM has it: a capture without any capability says nothing of them
DEFAULT_FEATURES = ["psci_0_2"]
EFFECTS = ("kept", "raised", "dropped", "rewritten", "defaulted", "refused", "unknown")
Json = dict[str, Any]


@dataclass(frozen=True)
class Vcpu:
    """How a vCPU is made."""

    features: tuple[str, ...]
    vgic: bool
    enabled: tuple[str, ...]


@dataclass(frozen=True)
class Unknown:
    """What is not known of a vCPU, and what is known that it does not show."""

    listed: tuple[int, ...]
    bits: dict[int, int]
    hardware: dict[int, int]

    def document(self) -> Json:
        """As a capture has it."""
        hexadecimal = [
            {f"{k:#x}": f"{v:#x}" for k, v in words.items()} for words in (self.bits, self.hardware)
        ]
        return {
            "listed": [f"{one:#x}" for one in self.listed],
            "bits": hexadecimal[0],
            "hardware": hexadecimal[1],
        }


@dataclass(frozen=True)
class TargetHost:
    """One host of a vector: what it shows without being written to."""

    kernel: str
    vcpu: Vcpu
    registers: dict[int, int]  # in KVM's list order
    masks: dict[int, int] | None
    vulnerabilities: dict[str, str]
    capabilities: dict[str, int]
    pmu_initialised: bool | None
    refuses: tuple[tuple[Vcpu, str], ...]
    without_vgic: dict[int, int] | None  # what reads otherwise where the VM has no vGIC yet
    surroundings: dict[str, dict[str, str]]  # as a capture has them: `value` or `errno`
    unknown: Unknown | None  # what nobody knows of it
    cores: tuple[str, ...]  # MIDR_EL1 of each kind of CPU, where there are several

    @property
    def hardware(self) -> dict[int, int]:
        """What the hardware has in fields that the kernel hides, as far as it is known."""
        return {} if self.unknown is None else self.unknown.hardware

    def capture(self, name: str = "target") -> Json:
        """The capture of this host, without a single answer: all evidence is derived."""
        values = [f"{value:#x}" for value in self.registers.values()]
        made = vcpu_document("vm", self.vcpu) | {"values": values}
        if self.unknown is not None:
            made["unknown"] = self.unknown.document()
        if self.pmu_initialised is not None:
            made["pmu_initialised"] = self.pmu_initialised
        vcpus = [made]
        if self.without_vgic is not None:
            bare = self.registers | self.without_vgic
            vcpus.append(
                made | {"name": "no vgic", "vgic": False, "values": [f"{v:#x}" for v in bare.values()]}
            )
        masks = []
        if self.masks is not None:
            words = {f"{register:#x}": f"{mask:#x}" for register, mask in self.masks.items()}
            masks = [{"vcpus": [str(vcpu["name"]) for vcpu in vcpus], "masks": words}]
        for at, (vcpu, errno) in enumerate(self.refuses):
            document = vcpu_document(f"refused {at}", vcpu)
            del document["vgic"]
            vcpus.append(document | {"refused": errno})
        capabilities = {USER_MEMORY: 1} | self.capabilities
        if self.masks is not None:
            capabilities[MASKS_CAPABILITY] = 1
        host = {
            "name": name,
            "kernel": self.kernel,
            "midr": f"{self.registers.get(register_id('MIDR_EL1'), 0x413FD0C1):#x}",
            "vulnerabilities": self.vulnerabilities,
            "capabilities": capabilities,
            "cores": [
                {"midr": midr, "revidr": "0x0", "processors": [at]} for at, midr in enumerate(self.cores)
            ],
        }
        beside = {"surroundings": self.surroundings} if self.surroundings else {}
        return beside | {
            "format": "kvmfw-capture",
            "version": 4,
            "host": host,
            "registers": [f"{register:#x}" for register in self.registers],
            "vcpus": vcpus,
            "writable_masks": masks,
        }


@dataclass(frozen=True)
class Expected:
    """One finding that a case expects."""

    register: int | None
    effect: str
    errno: str | None = None
    reads: int | None = None


@dataclass(frozen=True)
class Case:
    """One hand-written case."""

    file: str
    name: str
    source: str
    host: TargetHost
    vcpu: Vcpu
    registers: dict[int, int]  # what was saved, in KVM's list order of the source
    surroundings: dict[str, int]  # what was saved beside them, by name
    vmm: str
    state: str
    outcome: str
    findings: tuple[Expected, ...]
    others_ignored: bool
    touched: frozenset[int] = field(repr=False)  # the registers that this case is about

    @property
    def label(self) -> str:
        """The file and the sentence."""
        return f"{self.file}: {self.name}"

    def register_set(self) -> kvmfw.RegisterSet:
        """What was saved, for the engine."""
        beside = {register_id(name): value for name, value in self.surroundings.items()}
        return kvmfw.RegisterSet.from_mapping(
            self.registers | beside,
            features=self.vcpu.features,
            vgic=self.vcpu.vgic,
            enabled=self.vcpu.enabled,
            name=self.name,
        )

    def target(self) -> kvmfw.Host:
        """The target, for the engine."""
        return kvmfw.Host.from_json(json.dumps(self.host.capture()))


def vcpu_document(name: str, vcpu: Vcpu) -> Json:
    """The head of a vCPU of a capture."""
    return {"name": name, "features": list(vcpu.features), "enabled": list(vcpu.enabled), "vgic": vcpu.vgic}


@cache
def register_id(text: str) -> int:
    """A register by the name of the catalogue, or by its hexadecimal id."""
    if text.startswith("0x"):
        return int(text, 16)
    found = kvmfw.find_register(text)
    if found is None:
        raise ValueError(f"`{text}` is neither a register name nor an id")
    return found


def known(place: str, document: Any, *keys: str, needed: Iterable[str] = ()) -> Json:
    """Refuse what is no object, has keys that nobody reads, or lacks some."""
    if not isinstance(document, dict):
        raise TypeError(f"{place}: expected an object")
    for key in document:
        if key not in keys:
            raise ValueError(f"{place}: unknown key `{key}`; expected one of {', '.join(keys)}")
    for key in needed:
        if key not in document:
            raise ValueError(f"{place}: `{key}` is missing")
    return document


def pairs_once(pairs: list[tuple[str, Any]]) -> Json:
    """Refuse an object that names a key twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError(f"a key occurs twice among {[key for key, _ in pairs]}")
    return made


def words(document: Mapping[str, str]) -> dict[int, int]:
    """Registers and their values, in order."""
    made = {register_id(name): int(value, 16) for name, value in document.items()}
    if len(made) != len(document):
        raise ValueError(f"a register occurs twice among {list(document)}")
    return made


def read_vcpu(document: Json, like: Vcpu) -> Vcpu:
    """How a vCPU is made, where a document says so."""
    return Vcpu(
        tuple(document.get("features", like.features)),
        bool(document.get("vgic", like.vgic)),
        tuple(document.get("enabled", like.enabled)),
    )


HOST_KEYS = (
    "kernel",
    "features",
    "vgic",
    "enabled",
    "registers",
    "masks",
    "vulnerabilities",
    "capabilities",
    "pmu_initialised",
    "refuses",
    "without_vgic",
    "surroundings",
    "unknown",
    "cores",
)


def read_host(place: str, document: Any) -> TargetHost:
    """One host; ``masks`` must be there, if only to say null."""
    found = known(place, document, *HOST_KEYS, needed=("kernel", "registers", "masks"))
    vcpu = read_vcpu(found, Vcpu(tuple(DEFAULT_FEATURES), True, ()))
    refuses = []
    for refused in found.get("refuses", []):
        known(f"{place}.refuses", refused, "features", "enabled", "errno", needed=("features", "errno"))
        refuses.append((read_vcpu(refused, Vcpu((), vcpu.vgic, ())), str(refused["errno"])))
    without = found.get("without_vgic")
    return TargetHost(
        kernel=found["kernel"],
        vcpu=vcpu,
        registers=words(found["registers"]),
        masks=None if found["masks"] is None else words(found["masks"]),
        vulnerabilities=found.get("vulnerabilities", {}),
        capabilities=found.get("capabilities", {}),
        pmu_initialised=found.get("pmu_initialised"),
        refuses=tuple(refuses),
        without_vgic=None if without is None else words(without),
        surroundings=found.get("surroundings", {}),
        unknown=read_unknown(f"{place}.unknown", found["unknown"]) if "unknown" in found else None,
        cores=tuple(found.get("cores", ())),
    )


def read_unknown(place: str, document: Any) -> Unknown:
    """What nobody knows of a host, or the host does not show."""
    said = known(place, document, "listed", "bits", "hardware")
    listed = tuple(map(register_id, said.get("listed", ())))
    return Unknown(listed, words(said.get("bits", {})), words(said.get("hardware", {})))


def read_case(file: str, hosts: Json, document: Any) -> Case:
    """One case; hosts are given by name or in place, ``with`` replaces some of their keys."""
    place = f"{file}: {document.get('name', '(no name)')}"
    keys = ("name", "source", "host", "with", "set", "vmm", "state", "expect")
    known(place, document, *keys, needed=("name", "source", "host", "set", "expect"))

    def host_of(said: Any) -> TargetHost:
        plain = hosts[said] if isinstance(said, str) else said
        changed = document.get("with", {}) if said == document["host"] else {}
        merged = plain | {key: value for key, value in changed.items() if key != "registers"}
        merged["registers"] = plain["registers"] | changed.get("registers", {})
        return read_host(f"{place}.host", merged)

    host = host_of(document["host"])
    parts = ("from", "registers", "surroundings", "without", "features", "vgic", "enabled")
    said = known(f"{place}.set", document["set"], *parts)
    beside = {name: int(value, 16) for name, value in said.get("surroundings", {}).items()}
    source = {"target": host}.get(said["from"]) or host_of(said["from"]) if "from" in said else None
    registers = {} if source is None else dict(source.registers)
    given = words(said.get("registers", {}))
    registers |= given
    left_out = [register_id(name) for name in said.get("without", [])]
    for register in left_out:
        del registers[register]
    expect = known(
        f"{place}.expect", document["expect"], "outcome", "findings", "others", needed=("outcome",)
    )
    if expect.get("others", "ignored") != "ignored":
        raise ValueError(f"{place}.expect.others: only `ignored` can be said")
    findings = tuple(read_finding(f"{place}.expect", finding) for finding in expect.get("findings", []))
    return Case(
        file=file,
        name=document["name"],
        source=document["source"],
        host=host,
        vcpu=read_vcpu(said, host.vcpu if source is None else source.vcpu),
        registers=registers,
        surroundings=beside,
        vmm=document.get("vmm", "kvm"),
        state=document.get("state", "fresh"),
        outcome=expect["outcome"],
        findings=findings,
        others_ignored="others" in expect,
        touched=frozenset(
            [
                *given,
                *map(register_id, beside),
                *left_out,
                *(f.register for f in findings if f.register is not None),
            ]
        ),
    )


def read_finding(place: str, document: Any) -> Expected:
    """One finding; ``register`` null is the vCPU or the list as a whole."""
    known(place, document, "register", "effect", "errno", "reads", needed=("register", "effect"))
    if document["effect"] not in EFFECTS:
        raise ValueError(f"{place}: `{document['effect']}` is not an effect")
    register, reads = document["register"], document.get("reads")
    return Expected(
        None if register is None else register_id(register),
        document["effect"],
        document.get("errno"),
        None if reads is None else int(reads, 16),
    )


@cache
def cases() -> tuple[Case, ...]:
    """All cases of all files."""
    found: list[Case] = []
    for path in sorted(FOLDER.glob("*.json")):
        document = json.loads(path.read_text(), object_pairs_hook=pairs_once)
        known(path.name, document, "about", "hosts", "cases", needed=("about", "cases"))
        read = [read_case(path.stem, document.get("hosts", {}), case) for case in document["cases"]]
        names = [case.name for case in read]
        if len(set(names)) != len(names):
            raise ValueError(
                f"{path.name}: the same name twice: {sorted(n for n in names if names.count(n) > 1)}"
            )
        found.extend(read)
    return tuple(found)
