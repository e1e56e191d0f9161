#!/bin/sh
# Write a run's model to a file, for `make export`: RUN, FORMAT, OUTPUT, BEST=1 for the best round's model. The run is in
# RUNS_DIR, or with FROM=containers in the volume of the containers.
set -eu
set -- export "${RUN:-latest}" --format "${FORMAT:-onnx}"
[ -z "${OUTPUT:-}" ] || set -- "$@" --output "$OUTPUT"
[ -z "${BEST:-}" ] || set -- "$@" --best

case ${FROM:-} in
    "") exec .venv/bin/python -m client "$@" ;;
    containers) ;;
    *)
        echo "FROM=$FROM: expected containers, or nothing for the runs of \`make run\`" >&2
        exit 2
        ;;
esac
# Builds the image if it is missing. Compose prints that to standard output, which is for the archive below.
docker compose run --rm -T model --version >&2
# The container's user cannot write to this folder, so the container writes an archive to standard output.
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
docker compose run --rm -T model "$@" --tar >"$archive"
tar -xPvf "$archive"
