#!/bin/sh
# Write SITE.tar.gz, the bundle of a site, from SITE, SERVER_ADDRESS, and REQUEST if the site keeps its own key.
set -u
fail() {
    echo "make bundle: $1" >&2
    exit 2
}
[ "${SITE:-}" ] || fail "SITE is not set; expected the site's name"
[ "${SERVER_ADDRESS:-}" ] || fail "SERVER_ADDRESS is not set; expected host:port by which the site connects to the server"
request=${REQUEST:-/dev/null}
[ -r "$request" ] || fail "REQUEST=$request: cannot be read; expected the file that \`client pki request\` wrote at the site"

# The archive may contain a key.
umask 077
part=$(mktemp .bundle.XXXXXX) || exit 2
trap 'rm -f "$part"' EXIT
trap 'exit 130' HUP INT TERM
server/authority/pki.sh bundle "$SITE" "$SERVER_ADDRESS" ${REQUEST:+--request -} <"$request" >"$part" || exit
if tar -tzf "$part" | grep -q '/certs/site\.key$'; then
    key="it contains the private key of site $SITE: treat it like a password"
else
    key="it contains no private key: site $SITE keeps its own"
fi
mv "$part" "$SITE.tar.gz" && echo "wrote $SITE.tar.gz; $key"
