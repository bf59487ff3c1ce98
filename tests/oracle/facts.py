"""What is known of one vCPU configuration of a host, and what a write can answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

# bits of the KVM_ARM_VCPU_INIT feature word
POWER_OFF, EL1_32BIT, PSCI_0_2, PMU_V3, SVE = (1 << n for n in range(5))
PTRAUTH_ADDRESS, PTRAUTH_GENERIC, HAS_EL2, HAS_EL2_E2H0, PMU_V3_STRICT = (1 << n for n in range(5, 10))

CAP_MTE = 205
CAP_WRITABLE_IMP_ID_REGS = 239

Version = tuple[int, int, int]
# series -> build -> point release: Debian's 6.1.0-44 is 6.1.164, and builds only grow
DEBIAN_BUILDS = {(6, 1): {44: 164, 56: 192}, (5, 10): {32: 223}}


@dataclass(frozen=True)
class Answer:
    """One write's result: refused (errno), accepted (read_back), or unknown (needs).

    ``read_back`` of an accepted write is what KVM_GET_ONE_REG then returns; None where that
    ``moves`` by itself (timers) or cannot be told; ``altered``: it is another value than the one written.
    """

    errno: str | None = None
    read_back: int | None = None
    needs: str | None = None
    altered: bool = False
    moves: bool = False

    @property
    def unknown(self) -> bool:
        return self.needs is not None

    @property
    def accepted(self) -> bool:
        return self.errno is None and self.needs is None

    def changes(self, value: int) -> bool | None:
        """Is ``value``, which was taken, read otherwise?  None: that cannot be told."""
        if self.altered or self.moves:
            return self.altered
        return None if self.read_back is None else self.read_back != value


def accept(read_back: int | None) -> Answer:
    return Answer(read_back=read_back)


def refuse(errno: str) -> Answer:
    return Answer(errno=errno)


def unknown(needs: str) -> Answer:
    return Answer(needs=needs)


EINVAL = refuse("EINVAL")
ENOENT = refuse("ENOENT")
EBUSY = refuse("EBUSY")
EPERM = refuse("EPERM")


def parse_release(release: str) -> tuple[int, int, int | None]:
    """Major, minor and point release of ``uname -r``.

    Distributions that freeze the point release in the name and count builds after it
    ("5.10.0-32-arm64", "4.18.0-147.el8") do not tell it: None.
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(-\d+)?", release)
    if not found:
        raise ValueError(f"not a kernel release: {release!r}")
    major, minor, point, build = found.groups()
    if point is None or (int(point) == 0 and build):
        return int(major), int(minor), None
    return int(major), int(minor), int(point)


@dataclass(frozen=True)
class Facts:
    """One vCPU configuration of a host, as it can be seen without writing anything.

    ``registers`` is the list in KVM's order with the values of a fresh vCPU (wide registers as
    little-endian integers).  ``masks`` is what KVM_ARM_GET_REG_WRITABLE_MASKS returned, None
    when the ioctl is missing.  ``vulnerabilities`` are the host's sysfs files, if known.
    ``hardware`` is what the hardware has in fields that KVM hides, where a capture tells it.
    """

    release: str
    features: int
    vgic: bool
    registers: dict[int, int]
    masks: dict[int, int] | None = None
    caps: frozenset[int] = frozenset()
    vulnerabilities: dict[str, str] = field(default_factory=dict)
    hardware: dict[int, int] = field(default_factory=dict)

    @cached_property
    def version(self) -> tuple[int, int, int | None]:
        return parse_release(self.release)

    def has(self, feature: int) -> bool:
        return bool(self.features & feature)

    def fresh(self, register: int) -> int:
        return self.registers.get(register, 0)

    def at_least(self, major: int, minor: int) -> bool:
        return self.version[:2] >= (major, minor)

    def has_fix(self, fix: Version) -> bool | None:
        """Does this kernel, of this stable series, have what came into it with this point release?

        A distribution's own numbering tells no point release, and ".0" may be such a one.
        """
        if self.version[2] is None:
            builds = DEBIAN_BUILDS.get(self.version[:2], {})
            reached = [point for build, point in builds.items() if self.build >= build]
            return True if reached and max(reached) >= fix[2] else None
        return None if not self.version[2] else self.version[2] >= fix[2]

    @cached_property
    def build(self) -> int:
        """The number after the release in Debian's names; 0 where there is none."""
        found = re.fullmatch(r"[\d.]+-(\d+)(-cloud|-rt)?-arm64(-16k|-64k)?", self.release)
        return int(found[1]) if found else 0

    def between(self, absent: Version, present: Version) -> bool | None:
        """Does this kernel have a change last seen absent in one release, first seen in another?

        False up to ``absent``, True from ``present``, None between them.  Both ends may lie in
        one stable series; a point release that the name does not tell is None inside it.
        """
        series, point = self.version[:2], self.version[2]
        if point is None:
            if series < absent[:2]:
                return False
            if series > present[:2]:
                return True
            return None
        if (*series, point) <= absent:
            return False
        return True if (*series, point) >= present else None

    @cached_property
    def aarch32_el0(self) -> bool | None:
        """Can a guest run AArch32 at EL0?  Else its AArch32 ID registers read as zero.  None: nothing tells."""
        # semantics 3.2 / 3.8: read as zero on 64-bit-only hosts; ID_PFR0.State0 is never 0 else
        if self.fresh(0x603000000013C008) or self.fresh(0x603000000013C020) & 0xF == 2:
            return True
        return False if 0x603000000013C020 in self.registers else None
