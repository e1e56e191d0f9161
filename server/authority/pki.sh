#!/bin/sh
# Run a command of the authority in its container: `server/authority/pki.sh list`.
exec server/authority/run.sh pki "$@"
