#!/bin/sh
# Print the event log of `make run`, or with FROM=containers that of the containers of `make up`. Arguments are those of
# `python -m server events`.
set -eu

case ${FROM:-} in
    "") exec .venv/bin/python -m server events "$@" ;;
    # The authority's container reads its own log and that of the runs.
    containers) exec server/authority/run.sh events "$@" ;;
    *)
        echo "FROM=$FROM: expected containers, or nothing for the event log of \`make run\`" >&2
        exit 2
        ;;
esac
