#!/bin/sh
# Write the four locks from pyproject.toml. What a lock already names keeps its version; `--upgrade` takes the newest.
# A version's hashes are those of all its files, so that every platform finds its wheel.
set -eu
cd "$(dirname "$0")/.."
unset UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL  # nothing but the ordinary registry may shape a lock
if [ -x .venv/bin/uv ]; then uv=.venv/bin/uv; else uv=uv; fi

compile() { # the lock's name, its extras between commas, then options of uv
    name=$1 extras=$2
    shift 2
    lock=requirements/$name.txt
    echo "locking $lock"
    $uv pip compile pyproject.toml --output-file "$lock" --python-version 3.11 --python-platform linux \
        $(echo "$extras" | sed 's/^/--extra /; s/,/ --extra /g') --generate-hashes --no-config --no-header \
        --no-emit-index-url --no-emit-find-links --annotation-style line --quiet "$@"
    { echo "# Written by \`make lock\` from pyproject.toml; not to be edited."; cat "$lock"; } >"$lock.new"
    mv "$lock.new" "$lock"
}

compile dev server,client,dev "$@"
# The other three take the versions of the first, so that what is tested is what runs.
compile server server --constraint requirements/dev.txt
compile client client --constraint requirements/dev.txt
compile gpu gpu --constraint requirements/dev.txt
