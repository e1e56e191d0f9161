#!/bin/sh
# Check every lock for known vulnerabilities with pip-audit; options are pip-audit's: `--vulnerability-service osv`.
# Exit codes: 0 none is known, or no source answered; 1 one is known; 3 no source answered, and REQUIRE_AUDIT=1.
cd "$(dirname "$0")/.." || exit 2
code=0 unanswered=
for lock in server client gpu dev docs tensorboard mlflow simulation; do
    # A package that the source does not know fails the audit: a mirror may know of no vulnerability at all.
    if report=$("${PYTHON:-.venv/bin/python}" -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off \
        --requirement "requirements/$lock.txt" "$@" 2>&1); then
        echo "requirements/$lock.txt: no known vulnerabilities"
    elif echo "$report" | grep -q '^Found [0-9]* known'; then
        code=1
        echo "requirements/$lock.txt: $report"
    else
        unanswered="$unanswered requirements/$lock.txt"
        reason=$(echo "$report" | tail -n 1)
    fi
done
if [ -n "$unanswered" ]; then
    echo "NOT AUDITED:$unanswered: no source of vulnerabilities answered for all packages: $reason" >&2
    [ "${REQUIRE_AUDIT:-}" != 1 ] || [ "$code" != 0 ] || code=3
fi
exit "$code"
