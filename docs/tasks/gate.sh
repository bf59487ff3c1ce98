#!/bin/sh
# A gate in CI: two captures, of the kernel that runs and of the one to come. Usage: gate.sh BEFORE AFTER OUT.sarif
# Exit code 2 where VMs are refused there, or on the way back.
set -eu
kvmfw diff "$1" "$2" --format sarif --fail-on stranded,back,unknown > "$3"
