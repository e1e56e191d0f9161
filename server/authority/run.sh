#!/bin/sh
# Run a command of `python -m server` in the authority's container: `server/authority/run.sh events`.
# Build a missing image first: `compose run` would try to pull it, and print the build as the command's output.
image=$(docker compose config --images pki) || exit 2
docker image inspect "$image" >/dev/null 2>&1 || docker compose build server >&2 || exit 2
exec docker compose run --rm --no-deps -T pki python -m server "$@"
