"""A planner's loop: choose a target, move, remember; hosts reboot into other kernels meanwhile. Usage: planner.py FLEET."""

from __future__ import annotations

import sys

import kvmfw

fleet = kvmfw.Fleet.load(sys.argv[1])
generation, moved, stuck = fleet.snapshot().generation, 0, 0
for name in list(fleet.snapshot().vm_names)[:20]:
    now = fleet.snapshot()  # one moment: rows and names stay true
    rows = now.candidates(name, unknown="refuse", change="accept", home="exclude")
    if len(rows) == 0:
        stuck += 1
        continue
    fleet.move(name, now.host_names[int(rows[0])])
    moved += 1
print(f"{moved} VMs moved, {stuck} have no target, generation {generation} -> {fleet.snapshot().generation}")
