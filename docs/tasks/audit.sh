#!/bin/sh
# An audit for a report, kept over time. Usage: audit.sh FLEET FOLDER. Run it each night.
set -eu
fleet=$1 folder=$2
mkdir -p "$folder"
kvmfw audit "$fleet" --html "$folder/report.html" --record "$folder/history.parquet" \
    --prometheus "$folder/kvmfw.prom" --fail-on none > "$folder/report.txt"
kvmfw trend "$folder/history.parquet"
