#!/bin/sh
# Print the URL of the page of the server in containers: `server/status/url.sh`.
published=$(docker compose port server 8081 2>/dev/null)
if [ -z "$published" ] && [ -f compose.superlink.yml ]; then
    # A fleet's page is that of its ServerApp.
    published=$(docker compose -f docker-compose.yml -f compose.superlink.yml port superexec-serverapp 8081 2>/dev/null)
fi
case $published in
    # Compose prints port 0 for a container that has ended.
    "" | *:0)
        echo "make status: no server is running; expected one that \`make up\` has started" >&2
        exit 2
        ;;
    # All addresses of this machine.
    0.0.0.0:* | "[::]:"*) published=127.0.0.1:${published##*:} ;;
esac
echo "http://$published/"
