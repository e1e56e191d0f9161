#!/bin/sh
# Check that this machine's container engine can provide a GPU; if not, print the reason in one line.
output=$(docker run --rm --network none --gpus all "${BASE_IMAGE:-debian:bookworm-slim}" true 2>&1) && exit 0
reason=$(echo "$output" | grep -m 1 docker) || reason=$output
echo "make gpu: the engine provides no GPU; expected NVIDIA's driver and container toolkit on this machine: $reason" >&2
exit 2
