#!/bin/sh
# List the runs of RUNS_DIR, for `make runs`, or with FROM=containers those in the volume of the containers. Arguments are
# those of `python -m server runs`.
set -eu

case ${FROM:-} in
    "") exec .venv/bin/python -m server runs "$@" ;;
    containers) ;;
    *)
        echo "FROM=$FROM: expected containers, or nothing for the runs of \`make run\`" >&2
        exit 2
        ;;
esac
terminal=-T
# On a terminal, `runs remove` asks for confirmation.
if [ -t 0 ] && [ -t 1 ]; then terminal=; fi
# Builds the image if it is missing. Compose would print that to standard output, which may be redirected to a page.
docker compose run --rm --no-deps -T server true >&2
exec docker compose run --rm --no-deps $terminal server python -m server runs "$@"
