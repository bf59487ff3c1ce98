"""Parts of analyses that the numbers of a small fleet do not reach: laws of keys and cliques, and arguments that do not fit."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvmfw
from kvmfw.analysis import make_frame, policy_refusals
from kvmfw.analysis.changed import set_level
from kvmfw.analysis.cliques import FEW, cliques, weight_of
from kvmfw.analysis.compare import diff_fleets
from kvmfw.analysis.extras import need
from kvmfw.analysis.keys import counted, numbered
from kvmfw.analysis.means import any_means
from kvmfw.analysis.settings import find_settings
from kvmfw.errors import ArgumentError, InputError, KvmfwError
from kvmfw.testing import tiny_host, tiny_set
from tests.kernels.test_foretold import NEW, predicted
from tests.support.slow_audit import random_fleet

FAR = st.sampled_from([0, 1, 2, 77, (1 << 24) - 1, 1 << 24, 1 << 40, (1 << 62) + 1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.one_of(FAR, st.integers(0, 9)), st.integers(1, 5)), max_size=30), st.booleans())
def test_keys_are_counted_alike_where_a_table_would_be_too_large(
    told: list[tuple[int, int]], weighed: bool
) -> None:
    keys = np.array([key for key, _ in told], dtype=np.int64)
    weight = np.array([count for _, count in told], dtype=np.int64) if weighed else None
    wanted: Counter[int] = Counter()
    for key, count in told:
        wanted[key] += count if weighed else 1
    used, counts = counted(keys, weight)
    assert dict(zip(used.tolist(), counts.tolist(), strict=True)) == wanted
    assert used.tolist() == sorted(wanted)
    again, same, numbers = numbered(keys, weight)
    assert (again.tolist(), same.tolist()) == (used.tolist(), counts.tolist())
    assert used[numbers].tolist() == keys.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(2, FEW + 20), st.randoms(use_true_random=False), st.floats(0.1, 0.95))
def test_every_clique_fits_together_and_no_thing_could_be_added(
    things: int, chance: object, share: float
) -> None:
    random = np.random.default_rng(chance.randrange(1 << 30))  # type: ignore[attr-defined]
    fits = np.triu(random.random((things, things)) < share, 1)
    fits = fits | fits.T
    weights = random.integers(1, 9, things).tolist()
    found = cliques(fits, weights)
    assert found
    for clique in found:
        assert all(fits[a, b] for a in clique for b in clique if a != b)
        assert not any(all(fits[one, at] for at in clique) for one in range(things) if one not in clique)
    heavy = [weight_of(clique, weights) for clique in found]
    assert heavy == sorted(heavy, reverse=True)


@pytest.mark.parametrize("blocks", [[3, 2, 4], [20, 10], [9, 30, 5]])
def test_the_heaviest_of_sets_apart_comes_first(blocks: list[int]) -> None:
    of = np.repeat(np.arange(len(blocks)), blocks)
    found = cliques(of[:, None] == of[None, :], [1] * len(of))
    assert len(found[0]) == max(blocks)
    assert len({int(of[at]) for at in found[0]}) == 1


def test_arguments_that_do_not_fit_a_fleet_are_told() -> None:
    fleet = kvmfw.Fleet([tiny_set(name="a"), tiny_set(name="b")], [tiny_host(name="x"), tiny_host(name="y")])
    for homes, words in (
        ([0], r"`homes` has shape \(1,\); expected \(2,\)"),
        ([0, 2], "names host row 2; there are 2 hosts"),
    ):
        with pytest.raises(ArgumentError, match=words):
            make_frame(fleet, homes=homes)
    for vms, hosts, lacking in (([], [tiny_host()], "VM"), ([tiny_set()], [], "host")):
        with pytest.raises(ArgumentError, match=f"the fleet has no {lacking}: there is nothing to judge"):
            make_frame(kvmfw.Fleet(vms, hosts))
    other = kvmfw.Fleet([tiny_set()], [tiny_host()])
    with pytest.raises(ArgumentError, match=r"the fleets differ: \(2, 2\) and \(1, 1\) VMs and hosts"):
        policy_refusals(make_frame(fleet), other)


def test_fleets_are_compared_by_names_and_hosts_of_one_alone_are_told() -> None:
    made = random_fleet(3)
    whole, fewer = kvmfw.Fleet(made.vms, made.hosts), kvmfw.Fleet(made.vms, made.hosts[1:])
    said = {one.word: one for one in diff_fleets(whole, fewer).not_judged}
    assert (said["unmatched"].count, said["unmatched"].of) == (1, len(made.hosts))
    assert "unmatched" not in {one.word for one in diff_fleets(whole, whole).not_judged}
    with pytest.raises(InputError, match="the two fleets have different VMs"):
        diff_fleets(whole, kvmfw.Fleet(made.vms[1:], made.hosts))
    with pytest.raises(InputError, match="the two fleets have no host of the same name"):
        diff_fleets(whole, kvmfw.Fleet(made.vms, [host.renamed(f"{host.name}-b") for host in made.hosts]))


def test_a_level_that_is_set_is_known_where_it_was_not() -> None:
    """A predicted capture: what is supposed of a register is no longer unknown, and nothing else becomes known."""
    document = predicted(NEW, "6.18.15")
    register = next(
        int(text, 16)
        for vcpu in document["vcpus"]
        for text in vcpu["unknown"]["bits"]
        if int(text, 16) >> 52 == 0x603
    )
    changed = set_level(document, register, 0)
    unknown = [
        [one["vcpus"][at]["unknown"]["bits"] for at in range(len(one["vcpus"]))]
        for one in (document, changed)
    ]
    for before, after in zip(*unknown, strict=True):
        assert {int(text, 16) for text in before} - {int(text, 16) for text in after} <= {register}
        assert register not in {int(text, 16) for text in after}
    assert any(register in {int(text, 16) for text in before} for before in unknown[0])
    host = kvmfw.Host.from_json(json.dumps(changed))
    _, features, vgic, enabled = host.vcpus[0]
    fresh = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
    assert fresh is not None
    assert fresh[register] == 0


def test_what_is_not_installed_is_told_with_its_extra() -> None:
    with pytest.raises(
        KvmfwError, match=r"nowhere is not installed; `pip install 'kvmfw\[planners\]'` brings it"
    ):
        need("nowhere.part", "planners")


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1])
def test_a_share_of_hosts_is_above_0_and_at_most_1(share: float) -> None:
    with pytest.raises(ArgumentError, match=f"`share` is {share}; expected above 0 and at most 1"):
        find_settings([tiny_host()], any_means("kvm"), hide=lambda host, _: host, share=share)
