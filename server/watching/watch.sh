#!/bin/sh
# Watch the run of the server in containers, for `make watch`.
server=$(docker compose ps --quiet --status running server) || exit 2
if [ -z "$server" ]; then
    echo "make watch: no server is running; expected one that \`make up\` has started" >&2
    exit 5
fi
terminal=-T
if [ -t 0 ] && [ -t 1 ]; then terminal=; fi
docker compose exec $terminal server python -m server watch
code=$?
# When the server ends, the container stops, and may kill this program before it has shown the result.
if [ "$code" -eq 137 ] && [ "$(docker inspect --format '{{.State.Status}}' "$server" 2>/dev/null)" = exited ]; then
    code=$(docker inspect --format '{{.State.ExitCode}}' "$server")
    echo "the server has ended with exit code $code"
fi
exit "$code"
