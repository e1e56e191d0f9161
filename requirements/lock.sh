#!/bin/sh
# Write the locks from pyproject.toml. Locked versions are kept; `--upgrade` selects the newest.
# The hashes cover all files of a version, so that every platform finds its wheel.
set -eu
cd "$(dirname "$0")/.."
# A lock must not depend on indexes that are configured on this machine.
unset UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL

compile() { # compile NAME EXTRAS [OPTION...]; EXTRAS are separated by commas
    name=$1 extras=$2
    shift 2
    lock=requirements/$name.txt
    echo "locking $lock"
    .venv/bin/uv pip compile pyproject.toml --output-file "$lock" --universal --python-version 3.11 \
        --override requirements/override.txt $(echo "$extras" | sed 's/^/--extra /; s/,/ --extra /g') \
        --generate-hashes --no-config --no-header --no-emit-index-url --no-emit-find-links \
        --annotation-style line --quiet "$@"
    { echo "# Written by \`make lock\` from pyproject.toml; do not edit."; cat "$lock"; } >"$lock.new"
    mv "$lock.new" "$lock"
}

compile dev server,client,local,export,dev "$@"
# The others use the versions of the first, so that what was tested is what runs.
compile run server,client,local --constraint requirements/dev.txt
compile export server,client,local,export --constraint requirements/dev.txt
compile server server --constraint requirements/dev.txt
compile client client --constraint requirements/dev.txt
compile gpu gpu --constraint requirements/dev.txt
