"""What a change that does not come about leaves behind: nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from kvmfw import Fleet, readers
from kvmfw.testing import tiny_host
from tests.support.samples import WA1, WA3


def test_what_is_learnt_of_names_in_a_change_that_does_not_come_about_is_forgotten() -> None:
    """The commit may be interrupted, too: then the VMs are not there, and can be added later."""
    lists = pa.list_(pa.uint64())
    registers, values = pa.array([[WA1, WA3]] * 2, lists), pa.array([[0, 0], [0, 1]], lists)
    index = pa.array([0, 1], pa.int32())
    table = pa.table({"vm": ["b", "b"], "vcpu_index": index, "register": registers, "value": values})
    bad = pa.table({"vm": ["c"], "register": pa.array([[WA1]], lists), "value": pa.array([[1 << 40]], lists)})
    fleet = Fleet(bad, [tiny_host()], on_error="collect")
    before = (fleet.shape, fleet.inferred, fleet.generation, list(fleet.rejected))

    def begin() -> None:
        with fleet._change() as change:
            intake = readers.Intake("collect")
            for taken in (table, bad.set_column(0, "vm", pa.array(["d"]))):
                fleet._vms.add(change, readers.parts_of(taken, fleet._native, intake), intake, unique=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert (fleet.shape, fleet.inferred, fleet.generation, list(fleet.rejected)) == before
    for _ in range(2):
        fleet.add_vms(table)
        assert list(fleet.vm_names) == ["c", "b/vcpu0", "b/vcpu1"]
        fleet.remove_vms(["b/vcpu0", "b/vcpu1"])
