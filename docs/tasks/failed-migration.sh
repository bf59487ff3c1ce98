#!/bin/sh
# One migration failed: what does the message mean, which rules refuse, and where could the VM go?
# Usage: failed-migration.sh LOG FLEET VM HOST
set -eu
log=$1 fleet=$2 vm=$3 host=$4
kvmfw why "$log"
kvmfw explain "$fleet" "$vm" "$host" --fail-on none
for rule in $(kvmfw explain "$fleet" "$vm" "$host" --format json --fail-on none | grep -o 'KVMFW-[A-Z0-9-]*' | sort -u); do
    kvmfw rule "$rule"
done
kvmfw explain "$fleet" "$vm" --fail-on none
