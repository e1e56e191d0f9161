#!/bin/sh
# Start a SuperLink fleet and submit a run to it: superlink.sh. With arguments: `follow RUN`, `down`, `update`, which registers
# and unregisters sites if the fleet is running, or a command of `flwr`, such as `list`.
set -u
compose() {
    override=
    [ ! -f compose.superlink.override.yml ] || override="-f compose.superlink.override.yml"
    docker compose -f docker-compose.yml -f compose.superlink.yml $override "$@"
}
is_running() {
    [ -f compose.superlink.yml ] && [ -n "$(compose ps --quiet --status running superlink 2>/dev/null)" ]
}
in_container() {
    terminal=-T
    if [ -t 0 ] && [ -t 1 ]; then terminal=; fi
    compose run --rm --no-deps $terminal flwr "$@"
}
update() {
    compose up --detach --no-recreate register || return
    container=$(compose ps --all --quiet register)
    [ "$(docker wait "$container")" = 0 ] && return
    compose logs --no-log-prefix --tail 1 register >&2
    echo "the fleet was not updated; \`deploy/superlink/superlink.sh update\` tries again" >&2
    return 2
}
start() {
    for service in pki supernode; do
        image=$(compose config --images "$service" 2>/dev/null | head -n 1)
        if [ -z "$image" ] || ! docker image inspect "$image" >/dev/null 2>&1; then
            # Only these services have a `build` section.
            compose build server client || return
        fi
    done
    # Compose recreates services whose settings or image have changed, which would end a run.
    if is_running; then in_container idle || return; fi
    compose up --detach && return
    # The reason is most often the last line of this service.
    compose logs --no-log-prefix --tail 1 register >&2
    echo "make superlink: the fleet did not start; \`docker compose -f docker-compose.yml -f compose.superlink.yml logs\` has more" >&2
    return 2
}

case ${1:-} in
    "") start && in_container run /opt/app ;;
    down) [ ! -f compose.superlink.yml ] || compose --profile flwr down ;;
    update) ! is_running || update ;;
    *)
        if ! is_running; then
            echo "make superlink: no fleet is running; expected one that \`make superlink\` has started" >&2
            exit 5
        fi
        case $1 in
            follow) in_container "$@" ;;
            *) in_container flwr "$@" ;;
        esac
        ;;
esac
