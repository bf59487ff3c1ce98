"""OpenStack: placement traits of accept sets. The filter and the weigher of Nova are in `kvmfw.planners.nova`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmfw.planners.accept_sets import AcceptSets
from kvmfw.planners.generations import Difference
from kvmfw.planners.told import some_vms
from kvmfw.questions import Treat
from kvmfw.quoting import shell_word

__all__ = ["trait", "traits"]

_TRAIT = "openstack --os-placement-api-version 1.6 trait"


def trait(name: str, unknown: Treat) -> str:
    """Give the trait of an accept set: *this host takes that*. Those that let UNKNOWN pass are others.

    >>> trait("0123456789abcdef", "refuse"), trait("0123456789abcdef", "accept")
    ('CUSTOM_KVMFW_0123456789ABCDEF', 'CUSTOM_KVMFW_0123456789ABCDEF_OR_UNKNOWN')
    """
    return f"CUSTOM_KVMFW_{name.upper()}" + ("_OR_UNKNOWN" if unknown == "accept" else "")


def traits(sets: AcceptSets, difference: Difference) -> str:
    """Give what to do so that placement knows which hosts take which VMs, and what each VM asks for."""
    return "\n".join(_lines(sets, difference)) + "\n"


def _lines(sets: AcceptSets, difference: Difference) -> Iterator[str]:
    unknown = sets.unknown

    def words(names: Sequence[str]) -> str:
        return ",".join(trait(name, unknown) for name in names)

    yield "# A host has a trait where it takes the VMs that ask for it; " + (
        "where nobody knows, it has it too." if unknown == "accept" else "where nobody knows, it has it not."
    )
    yield "# Traits to create"
    yield from (f"{_TRAIT} create {trait(name, unknown)}" for name in difference.create)
    yield from ("", "# Traits to add (resource provider, traits)")
    yield from (f"{shell_word(host)} {words(names)}" for host, names in difference.add.items())
    yield from ("", "# What VMs ask for: a property of a flavour or an image, or required= of a query")
    for place, name in enumerate(sets.names):
        rest = "" if sets.takers[place].any() else "; no host takes them, so no host has it"
        yield f"# {some_vms(sets, place)}{rest}"
        yield f"trait:{trait(name, unknown)}=required"
    yield from (
        "",
        "# Traits to remove, when no VM asks for its old one any more (resource provider, traits)",
    )
    yield from (f"{shell_word(host)} {words(names)}" for host, names in difference.remove.items())
    yield from ("", "# Traits to delete")
    yield from (f"{_TRAIT} delete {trait(name, unknown)}" for name in difference.delete)
