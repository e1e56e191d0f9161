#!/bin/sh
# Carry out a command of the authority in its container: `server/authority/pki.sh list`.
# A missing image is built first: `compose run` would look for it elsewhere, and print its building as the command's output.
image=$(docker compose config --images pki) || exit 2
docker image inspect "$image" >/dev/null 2>&1 || docker compose build server >&2 || exit 2
exec docker compose run --rm --no-deps -T pki python -m server pki "$@"
