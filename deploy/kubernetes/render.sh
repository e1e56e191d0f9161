#!/bin/sh
# Write rendered/*.yaml from the overlays, for those who have no kustomize: `kubectl apply -f`. Needs kubectl 1.27 or newer.
set -eu
cd "$(dirname "$0")"
for overlay in overlays/*/; do
    name=$(basename "$overlay")
    { echo "# Written by deploy/kubernetes/render.sh; do not edit."; kubectl kustomize "$overlay"; } >"rendered/$name.yaml.new"
    mv "rendered/$name.yaml.new" "rendered/$name.yaml"
done
