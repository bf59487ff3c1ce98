"""Which of the kernels that the rules know a kernel's own tables are like, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kvmfw import _native
from kvmfw.kernels.kernel import Kernel
from kvmfw.registers import find_register, register_name

__all__ = ["Difference", "Fit", "fits"]

# KVM compares these as lower-is-safe, whatever the host's table says (kvm_arm64_ftr_safe_value, specification 3.3).
_LOWER_IN_KVM = {
    (find_register("ID_DFR0_EL1"), 24),
    (find_register("ID_AA64DFR0_EL1"), 0),
    (find_register("ID_AA64DFR0_EL1"), 8),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not alike.

    Attributes
    ----------
    register : int
        The register.
    place : str
        A field by its bits, or ``writable mask``.
    image, rules : str
        What either says; ``none`` where it has no such row.
    """

    register: int
    place: str
    image: str
    rules: str

    def __str__(self) -> str:
        return f"{register_name(self.register)} {self.place}: image {self.image}, rules {self.rules}"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a kernel's tables compare with what the rules know of one release.

    Attributes
    ----------
    release : str
        The release.
    rows : int
        How many rows were compared: those of every register that the rules have a table or a mask for.
    differences : tuple of Difference
        The rows that are not alike.
    left : tuple of int
        Registers with rows in the image that were left out, as no rule of this release looks at their fields.
    """

    release: str
    rows: int
    differences: tuple[Difference, ...]
    left: tuple[int, ...]


def fits(kernel: Kernel) -> list[Fit]:
    """Compare a kernel's tables with every known release, the likest first.

    KVM compares values of ID registers by these tables since 6.7; older kernels are compared with none of them.
    """
    if kernel.fields is None or kernel.descriptors is None or kernel.numbers[:2] < (6, 7):
        return []
    found = [_fit(kernel, numbers) for numbers in _native.known_releases()]
    return sorted(found, key=lambda fit: len(fit.differences))


def _fit(kernel: Kernel, numbers: tuple[int, int, int]) -> Fit:
    known = {register: (mask, rows) for register, mask, rows in _native.known_registers(*numbers)}
    fields, descriptors = kernel.fields or {}, kernel.descriptors or {}
    differences: list[Difference] = []
    rows, left = 0, []
    for register in sorted({*known, *fields}):
        mask, rules = known.get(register, (0, []))
        own = descriptors[register].mask if register in descriptors else 0
        if register not in known and (not _is_judged(kernel, register) or not own):
            left.append(register)
            continue
        pairs = [*_rows(kernel, register, rules)]
        if register in descriptors or mask:
            pairs.append(("writable mask", f"{own:#x}", f"{mask:#x}"))
        rows += len(pairs)
        differences += [Difference(register, *pair) for pair in pairs if pair[1] != pair[2]]
    return Fit(".".join(map(str, numbers)), rows, tuple(differences), tuple(left))


def _is_judged(kernel: Kernel, register: int) -> bool:
    """Tell whether KVM checks this register by its fields: ID registers have functions of that name."""
    one = (kernel.descriptors or {}).get(register)
    return one is not None and one.set is not None and one.set.startswith("set_id_")


def _rows(
    kernel: Kernel, register: int, rules: list[tuple[str, int, int, bool, str, int | None]]
) -> Iterator[tuple[str, str, str]]:
    image = {row.shift: row for row in (kernel.fields or {}).get(register, ())}
    known = {row[1]: row for row in rules}
    for shift in sorted({*image, *known}, reverse=True):
        there, ours = "none", "none"
        if row := image.get(shift):
            safe = "lower" if (register, shift) in _LOWER_IN_KVM else row.safe
            there = _words(row.width, row.signed, safe, row.value)
        if (one := known.get(shift)) is not None:
            ours = _words(one[2], one[3], one[4], one[5])
        name = f" {one[0]}" if one else ""
        yield f"bits {shift + (one[2] if one else image[shift].width) - 1}:{shift}{name}", there, ours


def _words(width: int, signed: bool, safe: str, value: int | None) -> str:
    sign = "signed" if signed else "unsigned"
    return (
        f"{sign}, {width} bits, {safe} {value}"
        if safe == "exact"
        else f"{sign}, {width} bits, {safe} is safe"
    )
