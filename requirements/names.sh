#!/bin/sh
# Print the names that are not settings, one line each, with the most similar one: names.sh OTHERS ENV_FILE NAME...
# It checks the NAMEs, which may also be words of OTHERS, and the names in ENV_FILE. Settings are the names in the compose
# files, whose lists `make settings` writes. The exit code is 1 if it printed a name. It needs no Python, which may not be
# installed yet.
cd "$(dirname "$0")/.." || exit 2
others=$1 env_file=$2
shift 2
[ -r "$env_file" ] || env_file=/dev/null
fleet=compose.superlink.yml
[ -r "$fleet" ] || fleet=/dev/null
OTHERS=$others NAMES=$* exec awk 'function is_known(name, i) {
    # Names that begin with X_ belong to the user, the others to compose and the engine.
    return name in settings || (!(i in place) && name in others) || name ~ /^(X|COMPOSE|DOCKER|BUILDKIT)_/
}
function least(a, b) { return a < b ? a : b }
# The Levenshtein distance.
function distance(a, b,    i, j, row, diagonal, above) {
    for (j = 0; j <= length(b); j++) row[j] = j
    for (i = 1; i <= length(a); i++) {
        diagonal = row[0]
        row[0] = i
        for (j = 1; j <= length(b); j++) {
            above = row[j]
            row[j] = least(least(row[j], row[j - 1]) + 1, diagonal + (substr(a, i, 1) != substr(b, j, 1)))
            diagonal = above
        }
    }
    return row[length(b)]
}
# A setting of which a name is whole words and at least half: EPOCHS means LOCAL_EPOCHS. NAME is a part of too many.
function find_containing(name,    known, found) {
    for (known in settings)
        if (index("_" known "_", "_" name "_") && 2 * length(name) >= length(known)) {
            if (found != "") return ""
            found = known
        }
    return found
}
function find_similar(name, candidates,    known, found, shortest, length_) {
    # One mistake in four letters, or in three. Two letters are similar to too much.
    shortest = length(name) == 3 ? 2 : int(length(name) / 4) + 1
    for (known in candidates) {
        length_ = distance(name, known)
        # Of several at the same distance the first in the alphabet, whatever order awk has.
        if (length_ < shortest || (length_ == shortest && found != "" && known < found)) {
            found = known
            shortest = length_
        }
    }
    return found
}
function guess(name, i,    found) {
    found = find_similar(name, settings)
    if (found == "") found = find_containing(name)
    return found == "" && !(i in place) ? find_similar(name, others) : found
}
BEGIN {
    count = split(ENVIRON["NAMES"], given, " ")
    for (i = split(ENVIRON["OTHERS"], words, " "); i > 0; i--) others[words[i]]
}
FILENAME == ARGV[1] {
    if (match($0, /^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*[=:]/)) {
        name = substr($0, RSTART, RLENGTH - 1)
        gsub(/^[ \t]*(export[ \t]+)?|[ \t]+$/, "", name)
        given[++count] = name
        place[count] = " in " FILENAME
    }
    next
}
/^[ \t]*#/ { next }
match($0, /^ +[A-Z][A-Z_]+:/) {
    name = substr($0, RSTART, RLENGTH - 1)
    gsub(/ /, "", name)
    settings[name]
}
{
    for (rest = $0; match(rest, /\$\{[A-Z][A-Z_]+/); rest = substr(rest, RSTART + RLENGTH))
        settings[substr(rest, RSTART + 2, RLENGTH - 2)]
}
END {
    for (i = 1; i <= count; i++) {
        if (is_known(given[i], i)) continue
        found = guess(toupper(given[i]), i)
        is_wrong = 1
        print given[i] place[i] ": not a setting" (found == "" ? "" : "; did you mean " found "?")
    }
    exit is_wrong
}
' "$env_file" docker-compose.yml "$fleet" server/authority/site/docker-compose.yml
