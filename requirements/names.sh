#!/bin/sh
# Print the names that are not settings, each with the most similar one: names.sh OTHERS ENV_FILE NAME...
# It checks the NAMEs and those in ENV_FILE. Settings are the names in the compose files, whose lists `make settings`
# writes, and the words of OTHERS. It needs no Python, which may not be installed yet.
cd "$(dirname "$0")/.." || exit 2
others=$1 env_file=$2
shift 2
[ -r "$env_file" ] || env_file=/dev/null
OTHERS=$others NAMES=$* exec awk 'function is_setting(name) {
    # Names that begin with X_ belong to the user, the others to compose and the engine.
    return name in settings || name ~ /^(X|COMPOSE|DOCKER|BUILDKIT)_/
}
function least(a, b) { return a < b ? a : b }
# The Levenshtein distance, but 1 if one name is part of the other: EPOCHS means LOCAL_EPOCHS.
function distance(a, b,    i, j, row, diagonal, above) {
    if (length(a) > 2 && (index(a, b) || index(b, a))) return 1
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
function find_similar(name,    known, found, shortest, length_) {
    shortest = least(4, length(name) / 2)
    for (known in settings) {
        length_ = distance(toupper(name), known)
        # Of several at the same distance the first in the alphabet, whatever order awk has.
        if (length_ < shortest || (length_ == shortest && found != "" && known < found)) {
            found = known
            shortest = length_
        }
    }
    return found
}
BEGIN {
    count = split(ENVIRON["NAMES"], given, " ")
    for (i = split(ENVIRON["OTHERS"], others, " "); i > 0; i--) settings[others[i]]
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
        if (is_setting(given[i])) continue
        found = find_similar(given[i])
        print given[i] place[i] ": not a setting" (found == "" ? "." : "; did you mean " found "?")
    }
}
' "$env_file" docker-compose.yml server/authority/site/docker-compose.yml
