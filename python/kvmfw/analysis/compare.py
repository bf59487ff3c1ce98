"""Before and after: what VMs lose and win when a capture, or a fleet, becomes another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kvmfw.analysis.frame import Frame, make_frame
from kvmfw.analysis.fresh import fresh_verdict
from kvmfw.analysis.not_judged import OPEN, NotJudged, beside, homeless, left_beside
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Finding, Outcome, Verdict

__all__ = [
    "CaptureDiff",
    "Direction",
    "FleetDiff",
    "NoReturn",
    "RegisterDiff",
    "diff_captures",
    "diff_fleets",
    "no_returns",
]


@dataclass(frozen=True, slots=True)
class Direction:
    """What one host says to fresh VMs of the other, for one vCPU configuration.

    Attributes
    ----------
    vcpu : str
        The configuration's name in the first capture.
    forward, back : Verdict or None
        Of the first capture's VM on the second, and of the second's on the first; `None` where the host
        that the VM comes from cannot make it.
    """

    vcpu: str
    forward: Verdict | None
    back: Verdict | None


@dataclass(frozen=True, slots=True)
class RegisterDiff:
    """One register on which two captures do not simply agree.

    Attributes
    ----------
    name : str
        The register, or vCPU.
    forward, back : Outcome
        The worst outcome in each direction, over all vCPU configurations.
    forward_finding, back_finding : Finding or None
        A finding of that outcome.
    vcpus : int
        In how many vCPU configurations it speaks.
    """

    name: str
    forward: Outcome
    back: Outcome
    forward_finding: Finding | None
    back_finding: Finding | None
    vcpus: int


@dataclass(frozen=True, slots=True)
class CaptureDiff:
    """Two captures compared: verdicts by vCPU configuration, and registers by worst outcome."""

    directions: tuple[Direction, ...]
    registers: tuple[RegisterDiff, ...]

    @property
    def not_judged(self) -> list[NotJudged]:
        """What the comparison leaves open."""
        verdicts = [way for one in self.directions for way in (one.forward, one.back) if way is not None]
        unknown = sum(one.outcome is Outcome.UNKNOWN for one in verdicts)
        why = "what is UNKNOWN is not taken; an answer of the host's KVM would tell (kvmfw probe)"
        found = (
            [NotJudged("unknown", unknown, len(verdicts), "directions are UNKNOWN", why)] if unknown else []
        )
        what = "directions were judged by registers of vCPUs and what both captures tell beside them"
        left = ", ".join(dict.fromkeys(str(one) for verdict in verdicts for one in verdict.not_judged))
        return [*found, left_beside(len(verdicts), what, left)]

    @property
    def strands(self) -> bool:
        """Whether some VM of the first is refused by the second."""
        return any(
            one.forward is not None and one.forward.outcome is Outcome.REFUSE for one in self.directions
        )


def diff_captures(before: Host, after: Host, *, vmm: str = "kvm", scheme: str = "kvm") -> CaptureDiff:
    """Compare two captures: what fresh VMs of each find on the other, register by register.

    Raises
    ------
    InputError
        When neither capture has a vCPU that could be made.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host
    >>> diff = diff_captures(tiny_host(workaround_3=2), tiny_host(workaround_3=1))
    >>> diff.strands, [(one.name, one.forward.name, one.back.name) for one in diff.registers]
    (True, [('SMCCC_ARCH_WORKAROUND_3', 'REFUSE', 'CHANGE')])
    """
    directions = []
    seen: set[tuple[object, ...]] = set()
    for name, features, vgic, enabled in (*before.vcpus, *after.vcpus):
        key = (tuple(features), vgic, tuple(enabled))
        if key in seen:
            continue
        seen.add(key)
        forward, back = (
            fresh_verdict(
                source, target, features=features, vgic=vgic, enabled=enabled, vmm=vmm, scheme=scheme
            )
            for source, target in ((before, after), (after, before))
        )
        if forward is None and back is None:
            continue
        directions.append(Direction(name, forward, back))
    if not directions:
        raise InputError("there is no vCPU that one of the captures could make: there is nothing to judge")
    return CaptureDiff(tuple(directions), _registers(directions))


def _registers(directions: Sequence[Direction]) -> tuple[RegisterDiff, ...]:
    found: dict[str, list[list[Finding]]] = {}
    vcpus: dict[str, set[str]] = {}
    for one in directions:
        for at, verdict in enumerate((one.forward, one.back)):
            for finding in verdict.findings if verdict is not None else ():
                found.setdefault(finding.name, [[], []])[at].append(finding)
                vcpus.setdefault(finding.name, set()).add(one.vcpu)
    rows = []
    for name, (forward, back) in found.items():
        worst = [max(side, key=lambda finding: finding.outcome, default=None) for side in (forward, back)]
        outcomes = [one.outcome if one is not None else Outcome.ACCEPT for one in worst]
        rows.append(RegisterDiff(name, outcomes[0], outcomes[1], worst[0], worst[1], len(vcpus[name])))
    return tuple(sorted(rows, key=lambda row: (-row.forward, -row.back)))


@dataclass(frozen=True, slots=True)
class NoReturn:
    """Hosts whose VMs, once started after the change, cannot come back to hosts as these were before.

    Attributes
    ----------
    hosts : tuple of str
        Their names.
    features, enabled : tuple of str
        How the vCPU is made that shows it.
    finding : Finding
        What the hosts as they were say first to such a VM: refused, or not known.
    """

    hosts: tuple[str, ...]
    features: tuple[str, ...]
    enabled: tuple[str, ...]
    finding: Finding


def no_returns(
    fleet: Fleet, vms: Sequence[RegisterSet], before: Sequence[Host], after: Sequence[Host]
) -> tuple[NoReturn, ...]:
    """Find the changes of hosts that VMs cannot undo: a rollout half done is a one-way trap for them.

    Parameters
    ----------
    fleet : Fleet
        The VMs on the hosts as they were.
    vms : sequence of RegisterSet
        Its VMs, by row: how they are made is how VMs will be made.
    before, after : sequence of Host
        The hosts of both states, matched by name.
    """
    now = {host.name: host for host in after}
    changed: dict[tuple[int, int], list[tuple[Host, Host]]] = defaultdict(list)
    for old in before:
        new = now.get(old.name)
        if new is not None and new._native is not old._native:
            changed[id(old._native), id(new._native)].append((old, new))
    _, first = np.unique(fleet.vm_classes, return_index=True)
    made = dict.fromkeys(
        (tuple(vm.features), vm.vgic, tuple(vm.enabled)) for vm in (vms[row] for row in first.tolist())
    )
    found = []
    for pairs in changed.values():
        old, new = pairs[0]
        names = tuple(host.name for host, _ in pairs)
        for features, vgic, enabled in made:
            verdict = fresh_verdict(
                new,
                old,
                features=features,
                vgic=vgic,
                enabled=enabled,
                vmm=fleet.vmm,
                scheme=fleet.scheme,
            )
            if verdict is not None and verdict.outcome >= Outcome.UNKNOWN:
                refused = next(one for one in verdict.findings if one.outcome is verdict.outcome)
                found.append(NoReturn(names, features, enabled, refused))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class FleetDiff:
    """Two states of a fleet compared, with the VMs as they were saved before.

    Attributes
    ----------
    vms, hosts : int
        VMs before, and hosts of the same name in both.
    changed_hosts : tuple of str
        Hosts whose answers to these VMs differ.
    newly_stranded, freed : tuple of (str, str or None)
        VMs (and their hosts) that no other host takes any more, or that one takes again.
    transitions : dict of (Outcome, Outcome) to int
        Pairs of a VM and another host, by outcome before and after; hosts of both states only.
    blockers : tuple of (str, int)
        What refuses the newly stranded VMs on the hosts that took them before: unit and pairs.
    not_judged : tuple of NotJudged
        What the comparison leaves open.
    back : tuple of NoReturn
        Changes of hosts that VMs cannot undo, where that was asked for.
    """

    vms: int
    hosts: int
    changed_hosts: tuple[str, ...]
    newly_stranded: tuple[tuple[str, str | None], ...]
    freed: tuple[tuple[str, str | None], ...]
    transitions: dict[tuple[Outcome, Outcome], int]
    blockers: tuple[tuple[str, int], ...]
    not_judged: tuple[NotJudged, ...]
    back: tuple[NoReturn, ...]


def diff_fleets(
    before: Fleet,
    after: Fleet,
    *,
    back: tuple[NoReturn, ...] = (),
    unknown: bool = False,
    change: bool = True,
) -> FleetDiff:
    """Compare the same VMs on two sets of hosts, matched by name.

    Parameters
    ----------
    before, after : Fleet
        The same VMs in the same rows, on the hosts of each state.
    back : tuple of NoReturn
        What `no_returns` found.
    unknown, change : bool
        Whether these outcomes count as taken.

    Raises
    ------
    InputError
        When the VMs are not the same, or no host has the same name in both.
    """
    if list(before.vm_names) != list(after.vm_names):
        raise InputError("the two fleets have different VMs; compare the same VMs on both sets of hosts")
    rows = {name: row for row, name in enumerate(after.host_names)}
    common = [(row, rows[name]) for row, name in enumerate(before.host_names) if name in rows]
    if not common:
        raise InputError("the two fleets have no host of the same name")
    frames = [make_frame(fleet, change=change, unknown=unknown) for fleet in (before, after)]
    stranded = [frame.group_targets[frame.group_of] == 0 for frame in frames]
    lost, won = np.flatnonzero(stranded[1] & ~stranded[0]), np.flatnonzero(stranded[0] & ~stranded[1])
    named = [
        tuple((frames[0].vm_names(part)[at], frames[0].home_name(int(row))) for at, row in enumerate(part))
        for part in (lost, won)
    ]
    transitions, changed, refusing = _transitions(frames, common, lost)
    return FleetDiff(
        before.shape[0],
        len(common),
        tuple(before.host_names[common[at][0]] for at in changed),
        named[0],
        named[1],
        transitions,
        tuple(sorted(refusing.items(), key=lambda item: (-item[1], item[0]))),
        tuple(_not_judged(frames[0], len(common), after, transitions)),
        back,
    )


def _not_judged(
    frame: Frame, common: int, after: Fleet, transitions: Mapping[tuple[Outcome, Outcome], int]
) -> list[NotJudged]:
    found = homeless(frame)
    pairs = sum(transitions.values())
    open_now = sum(count for (was, now), count in transitions.items() if was < now and now is Outcome.UNKNOWN)
    if open_now:
        what = "pairs of a VM and another host are UNKNOWN now"
        found.append(NotJudged(OPEN, open_now, pairs, what, "nobody knows whether they are lost"))
    every = frame.fleet.shape[1] + after.shape[1] - common
    if common < every:
        why = "pairs with them are not among those whose outcome changes"
        found.append(
            NotJudged("unmatched", every - common, every, "hosts are in one of the fleets only", why)
        )
    return [*found, beside(frame, pairs)]


def _transitions(
    frames: Sequence[Frame], common: Sequence[tuple[int, int]], lost: np.typing.NDArray[np.int64]
) -> tuple[dict[tuple[Outcome, Outcome], int], list[int], dict[str, int]]:
    before, after = frames
    pairs = np.stack([before.vm_class, after.vm_class])
    vm_both, vm_number, vm_count = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    vm_number = vm_number.ravel()
    places = np.array(common)
    pairs = np.stack([before.host_class[places[:, 0]], after.host_class[places[:, 1]]])
    host_both, host_number, host_count = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    host_number = host_number.ravel()
    weight = np.outer(vm_count, host_count)
    place_of = np.full(before.fleet.shape[1], -1, dtype=np.int64)
    place_of[places[:, 0]] = host_number
    home_place = np.where(before.homes >= 0, place_of[np.maximum(before.homes, 0)], -1)
    known = home_place >= 0
    np.subtract.at(weight, (vm_number[known], home_place[known]), 1)
    was = before.outcomes[np.ix_(vm_both[0], host_both[0])]
    now = after.outcomes[np.ix_(vm_both[1], host_both[1])]
    counts = np.bincount((was * 4 + now).ravel(), weight.ravel(), minlength=16).astype(np.int64)
    transitions = {(a, b): int(counts[a * 4 + b]) for a in Outcome for b in Outcome if counts[a * 4 + b]}
    differs = (was != now).any(axis=0)
    changed = np.flatnonzero(differs[host_number]).tolist()
    units = after.deciding[np.ix_(vm_both[1], host_both[1])]
    taken_before = before.taken[np.ix_(vm_both[0], host_both[0])]
    lost_weight = np.zeros_like(weight)
    np.add.at(lost_weight, vm_number[lost], host_count)
    at_home = lost[known[lost]]
    np.subtract.at(lost_weight, (vm_number[at_home], home_place[at_home]), 1)
    wanted = taken_before & (lost_weight > 0) & (units < len(after.fleet.units))
    refused = np.bincount(units[wanted], lost_weight[wanted], minlength=len(after.fleet.units))
    names = after.fleet.units
    return transitions, changed, {names[at]: int(refused[at]) for at in np.flatnonzero(refused).tolist()}
