"""Kubernetes and KubeVirt: labels of nodes, affinities and node selectors of accept sets."""

from __future__ import annotations

from collections.abc import Iterator

from kvmfw.planners.accept_sets import AcceptSets
from kvmfw.planners.generations import Difference
from kvmfw.planners.told import some_vms
from kvmfw.questions import Treat
from kvmfw.quoting import shell_word

__all__ = ["label", "labels"]


def label(name: str, unknown: Treat) -> str:
    """Give the key of the label of an accept set: *this node takes that*.

    >>> label("0123456789abcdef", "refuse"), label("0123456789abcdef", "accept")
    ('takes.kvmfw.io/0123456789abcdef', 'takes-or-unknown.kvmfw.io/0123456789abcdef')
    """
    return ("takes-or-unknown" if unknown == "accept" else "takes") + f".kvmfw.io/{name}"


def labels(sets: AcceptSets, difference: Difference) -> str:
    """Give the labels of nodes, and the affinity and the selector that each VM may have, as YAML.

    A label means that the node takes the VMs that ask for it, so a migration asks for one: KubeVirt joins `addedNodeSelector`
    with AND.
    """
    return "\n".join(_lines(sets, difference)) + "\n"


def _node(host: str) -> str:
    """Give a host as an operand: what is called like an option, such as ``--all``, is none."""
    return f"-- {shell_word(host)}" if host.startswith("-") else shell_word(host)


def _lines(sets: AcceptSets, difference: Difference) -> Iterator[str]:
    unknown = sets.unknown
    yield "# Labels to add"
    for host, names in difference.add.items():
        words = " ".join(f"{label(name, unknown)}=true" for name in names)
        yield f"# kubectl label node {_node(host)} {words}"
    for place, name in enumerate(sets.names):
        key = label(name, unknown)
        rest = "" if sets.takers[place].any() else "; no host takes them, so no node has it"
        yield from ("---", f"# {some_vms(sets, place)}{rest}")
        yield from (
            "affinity:",
            "  nodeAffinity:",
            "    requiredDuringSchedulingIgnoredDuringExecution:",
            "      nodeSelectorTerms:",
            "      - matchExpressions:",
            f"        - key: {key}",
            "          operator: In",
            '          values: ["true"]',
            "# of a VirtualMachineInstanceMigration",
            "addedNodeSelector:",
            f'  {key}: "true"',
        )
    if difference.remove:
        yield from ("---", "# Labels to remove, when no VM asks for its old one any more")
    for host, names in difference.remove.items():
        words = " ".join(f"{label(name, unknown)}-" for name in names)
        yield f"# kubectl label node {_node(host)} {words}"
