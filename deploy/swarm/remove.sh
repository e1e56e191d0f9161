#!/bin/sh
# Remove this checkout's stack from the swarm, for `make swarm-down`. Volumes and certificates stay.
set -u
name=$(docker compose config | sed -n 's/^name: //p')
[ "$name" ] || exit 2
docker stack rm "$name" || exit
# The engine removes containers in the background. Without them, a new stack can have the same network.
stack=label=com.docker.stack.namespace=$name
while [ "$(docker ps --all --quiet --filter "$stack")$(docker network ls --quiet --filter "$stack")" ]; do sleep 0.2; done
