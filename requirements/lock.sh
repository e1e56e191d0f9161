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
    resolve "$name" pyproject.toml --override requirements/override.txt \
        $(echo "$extras" | sed 's/^/--extra /; s/,/ --extra /g') "$@"
}

compile_tool() { # compile_tool GROUP [OPTION...]
    group=$1
    shift
    resolve "$group" --group "$group" "$@"
}

resolve() { # resolve NAME OPTION...
    lock=requirements/$1.txt
    shift
    echo "locking $lock"
    .venv/bin/uv pip compile --output-file "$lock" --universal --python-version 3.11 \
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
compile simulation server,client,local --group simulation --constraint requirements/dev.txt
compile_tool docs "$@"
compile_tool tensorboard "$@"
compile_tool mlflow "$@"
