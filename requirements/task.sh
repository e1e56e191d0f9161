#!/bin/sh
# Choose the versions of a task's packages: `requirements/task.sh FILE LOCK PYTHON OUTPUT`, with uv on PATH. FILE lists them,
# OUTPUT receives all that they need beside LOCK. Versions in LOCK stay, so that no package replaces numpy, mxnet or flwr.
set -eu
file=$1 lock=$2 python=$3 output=$4

fail() {
    echo "$*" >&2
    exit 2
}

resolve() { UV_NO_WRAP=1 uv pip compile "$@" --python "$python" --no-header --no-annotate --no-progress --quiet; }

# Print the packages of the second list that the first lacks. Their hashes follow each.
drop_listed() {
    awk 'match($0, /^[a-z0-9][a-z0-9-]*/) { name = substr($0, 1, RLENGTH); if (NR == FNR) listed[name] }
        NR > FNR && !(name in listed)' "$@"
}

# Old packages declare more than they import. pip has no way to leave such dependencies out, so a comment names them.
sed -n 's/^# *exclude: *//p' "$file" | tr ', ' '\n\n' >"$output.excluded"

# An address of an index in FILE is needed again for the download.
if problem=$(resolve "$file" --constraint "$lock" --excludes "$output.excluded" --output-file "$output.all" \
    --generate-hashes --emit-index-url --emit-find-links 2>&1); then
    # Markers in LOCK leave out some of its packages on some versions of Python.
    resolve "$lock" --no-deps --output-file "$output.lock" >/dev/null
    drop_listed "$output.lock" "$output.all" >"$output"
    exit 0
fi

reason=$(echo "$problem" | awk '
    # Markers such as numpy{python_full_version < 3.13} hide the name.
    { gsub(/\{[^}]*\}/, "") }
    sub(/^ *cause: /, "") { found = 1 }
    /^ *hint: /  { found = 0 }
    found { sub(/^ +/, ""); text = text (text == "" ? "" : " ") $0 }
    END { sub(/[.]$/, "", text); print text }')
case $problem in
    *"No solution found"*) ;;
    *)
        echo "$problem" >&2
        fail "$file: the packages could not be resolved, see above: check the names, the network, or the package index that pip is configured with"
        ;;
esac
locked=$(REASON="$reason " awk '/^[a-z0-9].*==/ {
        pin = $1
        sub(/\[[^]]*\]/, "", pin)
        at = index(ENVIRON["REASON"], pin)
        # numpy==1.2 is the beginning of numpy==1.26.
        if (at && substr(ENVIRON["REASON"], at + length(pin), 1) ~ /[ ,]/) printf "%s%s", (n++ ? ", " : ""), pin
    }' "$lock")
[ -z "$locked" ] || fail "$file: does not fit $locked in $lock; expected packages that work with it: $reason"
fail "$file: $reason; expected packages that can be installed together"
