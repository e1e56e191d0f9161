#!/bin/sh
# Deploy this checkout's stack to the swarm, or update it, for `make swarm`. Arguments are further options of `docker compose`,
# such as `-f deploy/swarm/publish.yml`.
set -u
fail() {
    echo "make swarm: $1" >&2
    exit 2
}
version_of() { cat "$@" | sha256sum | cut -c 1-12; }

# Compose's own error does not name the setting.
case ${CLIENTS:-1} in
    *[!0-9]* | 0) fail "CLIENTS=$CLIENTS: expected an integer of at least 1" ;;
esac
state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}') || exit 2
[ "$state" = "active true" ] ||
    fail "this engine does not manage a swarm; expected a manager: \`docker swarm init --advertise-addr ADDRESS\` makes it one"
hosts=$(docker node ls --quiet --filter node.label=fedmx.server=true | wc -l) || exit 2
[ "$hosts" -eq 1 ] ||
    fail "$hosts nodes have the label fedmx.server=true; expected one, which has the runs: \`docker node update --label-add fedmx.server=true NODE\`; \`docker node ls\` lists the nodes"

# Keys are written to memory only, where there is a tmpfs.
umask 077
folder=$(TMPDIR=$(test -w /dev/shm && echo /dev/shm || echo "${TMPDIR:-/tmp}") mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' HUP INT TERM
server/authority/pki.sh ensure --container >&2 || exit
docker compose run --rm --no-deps -T pki tar -C /pki -c server sites/local >"$folder/certs.tar" || exit
tar -C "$folder" -xf "$folder/certs.tar" || exit
# A config cannot be empty, and no certificate has the serial number 0.
test -s "$folder/server/revoked.txt" || echo 0 >"$folder/server/revoked.txt"
STACK_CERTS=$folder
SERVER_CERTS_VERSION=$(version_of "$folder/server/authority.crt" "$folder/server/server.crt" "$folder/server/server.key")
SITE_CERTS_VERSION=$(version_of "$folder/sites/local/site.crt" "$folder/sites/local/site.key")
REVOKED_VERSION=$(version_of "$folder/server/revoked.txt")
export STACK_CERTS SERVER_CERTS_VERSION SITE_CERTS_VERSION REVOKED_VERSION

compose() { docker compose -f docker-compose.yml -f deploy/swarm/stack.yml "$@"; }
compose "$@" config server client >"$folder/resolved.yml" || exit
name=$(sed -n 's/^name: //p' "$folder/resolved.yml")
clients=$(sed -n 's/^ *replicas: //p' "$folder/resolved.yml" | head -n 1)
[ "${clients:-0}" -ge 1 ] || fail "CLIENTS=${CLIENTS-$clients}: expected an integer of at least 1"
# `docker stack deploy` needs a version, ports as numbers, and cores as strings.
sed -e '1i version: "3.9"' -e '/^name: /d' -e 's/^\( *published: \)"\(.*\)"$/\1\2/' \
    -e 's/^\( *cpus: \)"\{0,1\}\([^"]*\)"\{0,1\}$/\1"\2"/' "$folder/resolved.yml" >"$folder/stack.yml"

# Images without a registry in their name are on each host already. The engine would look for them on Docker Hub.
resolve=changed
compose "$@" config --images server client >"$folder/images" || exit
grep -qv / "$folder/images" && resolve=never

# The engine refuses to remove those in use, so the version that this deployment replaces stays, for `docker service rollback`.
stack=label=com.docker.stack.namespace=$name
for kind in secret config; do
    docker "$kind" ls --quiet --filter "$stack" | xargs -r docker "$kind" rm >/dev/null 2>&1
done

# If the server has ended, everything is recreated, so that a run starts or is resumed. An update would start the clients one
# by one.
running=$(docker service ps --quiet --filter desired-state=running --filter desired-state=ready "${name}_server" 2>/dev/null)
[ "$running" ] || docker service ls --quiet --filter "$stack" | xargs -r docker service rm >/dev/null || exit
find_newest() { docker service ps --quiet "${name}_server" 2>/dev/null | head -n 1; }
read_template() { docker service inspect --format '{{json .Spec.TaskTemplate}}' "${name}_server" 2>/dev/null; }
before=$(find_newest)
template=$(read_template)
# Newer engines wait for the services by default, or announce that they will.
detach=$(docker stack deploy --help | grep -q -e --detach && echo --detach)
docker stack deploy $detach --prune --with-registry-auth --resolve-image "$resolve" --compose-file "$folder/stack.yml" "$name" || exit

if [ "$(read_template)" != "$template" ]; then
    while [ "$(find_newest)" = "$before" ]; do sleep 0.2; done
fi
# Wait until the server is ready or has ended. Its host may have to pull the image first.
while :; do
    found=$(docker service ps --format '{{.CurrentState}} {{.Error}}' "${name}_server" | head -n 1)
    case $found in
        Running* | Complete*) break ;;
        Failed* | Rejected* | Shutdown* | Orphaned* | Remove*)
            docker service logs --raw --tail 5 "${name}_server" >&2
            fail "the server has ended: $found"
            ;;
        Pending*no\ suitable*) fail "the server waits for its host: $found; it starts when that is ready" ;;
    esac
    sleep 0.5
done
echo "deployed stack $name with CLIENTS=$clients; \`docker service logs --follow ${name}_server\` shows the run"
