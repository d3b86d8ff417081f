#!/usr/bin/env bash
# Makes the keys by which nodes reach the daemon, and the Secret that deploy/k8s/indexed takes them from.
set -euo pipefail
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
telemetryd keys --keys-dir "$keys"
telemetryd keys --keys-dir "$keys" add node
kubectl create secret generic telemetryd-keys --dry-run=client --output=yaml \
  --from-file="$keys" --from-file="$keys/clients" | kubectl apply -f -
