#!/bin/sh
# Captures of all nodes, one full probe for each kind: what `kvmfw collect` does, by a DaemonSet.
#
#   collect.sh FOLDER [NAMESPACE]
#
# Needs kubectl and kvmfw. Nothing is left in the cluster.
set -eu
output=$1
namespace=${2:-default}
here=$(cd "$(dirname "$0")" && pwd)
kubectl() { command kubectl --namespace "$namespace" "$@"; }
mkdir -p "$output/probes"
script=$(mktemp)
trap 'rm -f "$script"; kubectl delete --ignore-not-found daemonset/kvmfw-probe configmap/kvmfw-probe > /dev/null' EXIT
kvmfw probe --print-script > "$script"
kubectl create configmap kvmfw-probe --from-file=probe.py="$script"
kubectl apply -f "$here/daemonset.yaml"
kubectl rollout status daemonset/kvmfw-probe --timeout=300s

# name of the pod and of its node, a pod in each line
pods() {
    kubectl get pods --selector app.kubernetes.io/name=kvmfw-probe \
        --output 'jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end}'
}
ask() {
    pod=$1 node=$2
    shift 2
    kubectl exec "$pod" < /dev/null -- python3 /probe/probe.py --name "$node" "$@" > "$output/probes/$node.json" ||
        echo "$node: its probe failed" >&2
}
pods | while read -r pod node; do
    ask "$pod" "$node" --quick
done
kvmfw collect "$output/probes" -o "$output" --format json --fail-on none > "$output/collected.json"
wanted=$(python3 -c 'import json, sys; print("\n".join(json.load(sys.stdin)["wanted"]))' < "$output/collected.json")
pods | while read -r pod node; do
    if printf '%s\n' "$wanted" | grep -qxF "$node"; then
        ask "$pod" "$node"
    fi
done
kvmfw collect "$output/probes" -o "$output"
