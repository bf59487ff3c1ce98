"""Who is alike: VMs and vCPUs that no host can tell apart. The native module alone knows what KVM looks at, and is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import _native
from kvmfw.readers.runs import INFERRED, UNUSABLE, Bad, Runs, firsts
from kvmfw.readers.vcpu import derived_vcpu, words_of, words_of_config
from kvmfw.sets import RegisterSet

__all__ = ["Classes", "one_of_each_kind", "words_of_run"]


class Classes:
    """The classes of vCPUs; those of one class are alike on every host, for every VMM.

    Parameters
    ----------
    vcpus : Runs or sequence of RegisterSet
        The vCPUs.
    kinds : _native.Kinds, optional
        Who was seen before, of the same source: who is alike is known sooner then. Keys are asked for before others are taken.

    Attributes
    ----------
    of : array of uint32
        The class of each.
    bad : Bad
        The runs that cannot be used, with their bad rows.
    """

    def __init__(self, vcpus: Runs | Sequence[RegisterSet], kinds: _native.Kinds | None = None) -> None:
        self._kinds = kinds or _native.Kinds(1)
        self.bad: Bad = {}
        if isinstance(vcpus, Runs):
            self.of, found = self._kinds.of_runs(
                vcpus.starts, vcpus.register, vcpus.value, vcpus.configs, vcpus.config_of
            )
            self.bad = vcpus.bad(found)
        else:
            self.of = self._kinds.of_sets([one._native for one in vcpus])

    def key(self, class_: int) -> bytes:
        """Give all that tells a class from others, the same wherever it is asked."""
        return self._kinds.key(class_) or b""


def one_of_each_kind(runs: Runs) -> tuple[Runs, Bad, dict[int, str]]:
    """Keep one vCPU of each kind in a VM, and of VMs that cannot be used the first.

    A VM of one kind keeps its name; else kinds are named ``vm/vcpuN`` by their first vCPU. Gives these runs, what cannot
    be used, and of which VM those are that stand for one kind of several.
    """
    classes = Classes(runs)
    vms, kinds = runs.vms(), classes.of.astype(np.int64)
    kinds[np.isin(vms, vms[list(classes.bad)])] = -1
    kept = np.sort(firsts(vms, kinds))
    made = runs.chosen(kept)
    several = np.bincount(vms[kept])[vms[kept]] > 1
    names = made.names.cast(pa.string())
    numbered = pc.binary_join_element_wise(names, pa.array(made.index).cast(pa.string()), "/vcpu")
    config_of = np.where(kinds[kept] < 0, UNUSABLE, made.config_of).astype(np.uint32)
    split = {int(run): names[run].as_py() for run in np.flatnonzero(several)}
    names = pc.if_else(pa.array(several), numbered, names)
    return replace(made, names=names, index=None, config_of=config_of), classes.bad, split


def words_of_run(runs: Runs, run: int) -> str:
    """Give the words of a vCPU, in their one order."""
    config = int(runs.config_of[run])
    if config != INFERRED:
        return words_of_config(runs.configs[config])
    rows = slice(int(runs.starts[run]), int(runs.starts[run + 1]))
    features, vgic, enabled = derived_vcpu(
        dict(zip(runs.register[rows].tolist(), runs.value[rows].tolist(), strict=True))
    )
    return words_of(features, vgic, enabled)
