#!/bin/sh
# Serve the runs of RUNS_DIR in TensorBoard, for `make tensorboard`, or with FROM=containers those in the volume of the
# containers. Arguments are those of TensorBoard.
set -eu

case ${FROM:-} in
    "") ;;
    containers)
        docker compose --profile tools up --detach --wait tensorboard
        echo "TensorBoard: http://$(docker compose --profile tools port tensorboard 6006); \`make down\` ends it"
        exit
        ;;
    *)
        echo "FROM=$FROM: expected containers, or nothing for the runs of \`make run\`" >&2
        exit 2
        ;;
esac
folder=${RUNS_DIR:-runs}/tensorboard
[ -d "$folder" ] || echo "no files in $folder yet; \`make run TENSORBOARD=on\` writes them" >&2
# It prints its address, a free port from 6006 on, and listens on loopback only.
exec .venv-tensorboard/bin/tensorboard --logdir "$folder" "$@"
