"""The catalogue of registers that KVM looks at."""

from __future__ import annotations

from dataclasses import dataclass

from kvmfw import _native

__all__ = [
    "Field",
    "Register",
    "fields_of",
    "find_register",
    "listed_by",
    "named",
    "register_name",
    "registers",
    "schemes_of",
    "takes",
]


@dataclass(frozen=True, slots=True)
class Register:
    """One register of the catalogue: its id, name and what it is."""

    id: int
    name: str
    meaning: str
    kind: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a register.

    Attributes
    ----------
    name : str
        Its name, as the architecture and QEMU's properties call it.
    shift, width : int
        Its lowest bit, and how many bits it has.
    """

    name: str
    shift: int
    width: int

    def of(self, value: int) -> int:
        """Give the field of a register value."""
        return value >> self.shift & ((1 << self.width) - 1)


def fields_of(register: int) -> list[Field]:
    """List the fields of a register that have a name, from the highest bit down.

    >>> fields_of(find_register("ID_AA64PFR0_EL1"))[0]
    Field(name='CSV3', shift=60, width=4)
    """
    return [Field(*row) for row in _native.fields(register)]


def registers() -> list[Register]:
    """List the registers whose values KVM looks at.

    Examples
    --------
    >>> [register.name for register in registers()][:4]
    ['PSCI_VERSION', 'SMCCC_ARCH_WORKAROUND_1', 'SMCCC_ARCH_WORKAROUND_2', 'SMCCC_ARCH_WORKAROUND_3']
    """
    return [Register(*row) for row in _native.catalog()]


def takes(register: int) -> str:
    """Say what KVM takes in a register.

    >>> takes(0x6030000000140001)
    "any level up to the host's; nothing is stored, the guest sees the host's level"
    """
    return _native.treatment(register)[0]


def listed_by(register: int) -> str | None:
    """Say which kernels list a register; None where all do that have the feature, or where it is not known.

    >>> listed_by(0x6030000000160003)
    '6.15 and later'
    """
    return _native.treatment(register)[1]


def schemes_of(register: int) -> list[str]:
    """List the schemes that judge a register themselves; under the others the target's KVM judges it.

    >>> schemes_of(find_register("PSCI_VERSION")), schemes_of(find_register("PSTATE"))
    (['signed4', 'equal'], [])
    """
    return _native.schemes_of(register)


def register_name(register: int) -> str:
    """Name a register id.

    >>> register_name(0x603000000013C020), register_name(0x603000000013DF19)
    ('ID_AA64PFR0_EL1', 'CNTV_CTL_EL0')
    """
    return _native.register_name(register)


def find_register(text: str) -> int | None:
    """Find a register by name (any case) or by id.

    >>> hex(find_register("psci_version"))
    '0x6030000000140000'
    """
    return _native.find_register(text)


def named(name: str) -> int:
    """Give the id of a register that the catalogue names.

    Raises
    ------
    KeyError
        When no register has the name: it is kvmfw's own code that is wrong.

    >>> hex(named("MIDR_EL1"))
    '0x603000000013c000'
    """
    found = find_register(name)
    if found is None:
        raise KeyError(name)
    return found
