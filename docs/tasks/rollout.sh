#!/bin/sh
# The roll-out of a kernel: hosts of CAPTURE in FLEET become what FILE was captured on. A canary, then waves.
# Usage: rollout.sh FLEET CAPTURE FILE. Exit code 2 where VMs would be stranded or could not come back.
set -eu
fleet=$1 capture=$2 file=$3

# What changes between the two captures, register by register, in both directions.
kvmfw diff "$fleet/captures/$capture.json" "$file" --fail-on none

# One host first: nobody is stranded, and VMs that start there can go back.
kvmfw whatif "$fleet" --replace "$capture=$file" --first 1 --fail-on stranded,back

# Then all: nobody is stranded at the end.
kvmfw whatif "$fleet" --replace "$capture=$file" --fail-on stranded,back
