#!/bin/sh
# Check that Docker and Compose 2 are installed; if not, print the command that installs them on this system.
docker compose version >/dev/null 2>&1 && exit 0
system=$(. "${OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "$ID-${VERSION_ID:-}")
case $system in
    debian-13*) how="apt-get install docker.io docker-compose docker-buildx" ;;
    ubuntu-*) how="apt-get install docker.io docker-compose-v2 docker-buildx" ;;
    fedora-*) how="dnf install moby-engine docker-compose docker-buildx" ;;
    # Debian 12 packages Compose 1, and other systems are unknown.
    *) how= ;;
esac
[ -z "$how" ] || [ "$(id -u)" = 0 ] || how="sudo $how"
echo "missing: Docker with Compose 2; install them with: ${how:-the packages of docs.docker.com/engine/install}" >&2
exit 2
