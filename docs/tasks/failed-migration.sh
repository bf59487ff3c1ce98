#!/bin/sh
# One migration failed: what does the message mean, and where could the VM go?
# Usage: failed-migration.sh LOG FLEET VM HOST
set -eu
log=$1 fleet=$2 vm=$3 host=$4
kvmfw why "$log"
kvmfw explain "$fleet" "$vm" "$host" --fail-on none
kvmfw rule KVMFW-WA3-LEVEL
