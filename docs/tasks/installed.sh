#!/bin/sh
# What must run after an installation, without an extra. Usage: installed.sh EXAMPLES
set -eu
examples=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
kvmfw --version
kvmfw validate "$examples/vm.json" "$examples/captures/5.10.0-32-arm64__neoverse-v1__mitigations-off.json" --fail-on none
kvmfw ingest "$examples/captures" "$examples/hosts.csv" "$examples/vms.jsonl" -o "$out/fleet" > /dev/null
kvmfw audit "$out/fleet" --fail-on none --html "$out/report.html" --record "$out/history.parquet" > /dev/null
kvmfw trend "$out/history.parquet" > /dev/null
kvmfw explain "$out/fleet" v1-510-a.gic3.fresh v1-510-nomit --fail-on none > /dev/null
kvmfw whatif "$out/fleet" --best 1 --fail-on none > /dev/null
kvmfw emit "$out/fleet" qemu --fail-on none > /dev/null
kvmfw schemes "$out/fleet" > /dev/null
kvmfw help audit > /dev/null
test -s "$out/report.html"
echo "kvmfw runs"
