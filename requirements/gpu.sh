#!/bin/sh
# Say in one line what is missing if this machine's container engine cannot hand out a GPU.
said=$(docker run --rm --network none --gpus all "${BASE_IMAGE:-debian:bookworm-slim}" true 2>&1) && exit 0
reason=$(echo "$said" | grep -m 1 docker) || reason=$said
echo "make gpu: the engine hands out no GPU; expected NVIDIA's driver and container toolkit on this machine: $reason" >&2
exit 2
