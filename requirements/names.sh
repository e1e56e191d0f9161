#!/bin/sh
# Print the names that are no settings, each with the nearest one: names.sh OTHERS ENV_FILE NAME...
# Settings are the names in the compose files, and the words of OTHERS. Checked are the NAMEs, and those of ENV_FILE.
cd "$(dirname "$0")/.." || exit 2
others=$1 env_file=$2
shift 2
[ -r "$env_file" ] || env_file=/dev/null
OTHERS=$others NAMES=$* exec awk 'function is_setting(name) {
    # What begins with X_ is of no concern here, as in compose; the rest belongs to the engine.
    return name in settings || name ~ /^(X|COMPOSE|DOCKER|BUILDKIT)_/
}
function least(a, b) { return a < b ? a : b }
# The distance of Levenshtein, but 1 for a part of a name: EPOCHS means LOCAL_EPOCHS.
function distance(a, b,    i, j, row, before, kept) {
    if (length(a) > 2 && (index(a, b) || index(b, a))) return 1
    for (j = 0; j <= length(b); j++) row[j] = j
    for (i = 1; i <= length(a); i++) {
        before = row[0]
        row[0] = i
        for (j = 1; j <= length(b); j++) {
            kept = row[j]
            row[j] = least(least(row[j], row[j - 1]) + 1, before + (substr(a, i, 1) != substr(b, j, 1)))
            before = kept
        }
    }
    return row[length(b)]
}
function nearest(name,    known, found, least_far, far) {
    least_far = least(4, length(name) / 2)
    for (known in settings) {
        far = distance(toupper(name), known)
        if (far < least_far || (far == least_far && found != "" && known < found)) { found = known; least_far = far }
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
        found = nearest(given[i])
        print given[i] place[i] ": not a setting" (found == "" ? "." : "; did you mean " found "?")
    }
}
' "$env_file" docker-compose.yml server/authority/site/docker-compose.yml
