#!/bin/sh
# Set up .venv from a lock: `requirements/venv.sh run`, or export, dev, server, client. A tool (docs, tensorboard, mlflow) has
# an environment of its own, such as .venv-docs, and so has the simulation, which needs Ray. `make` calls this if an
# environment is older than its lock. All missing system packages are named before anything is installed. Packages in
# requirements/task.txt, the user's file, are installed with every lock that has MXNet.
set -eu
unset CDPATH PYTHONHOME PYTHONPATH
cd "$(dirname "$0")/.."

fail() {
    echo "$*" >&2
    exit 2
}

# A name on PATH proves nothing: it may be a shim that fails, another version, or the .venv that is about to be replaced.
find_python() {
    for candidate in python3.11 python3.12 python3.13 python3; do
        "$candidate" -I -c '
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.implementation.name != "cpython": sys.exit(1)
print(sys._base_executable)' 2>/dev/null && return
    done
    return 1
}

# Print a package's name on this system. Python is the system's own if that is 3.11, 3.12 or 3.13.
find_package() {
    case "$system:$1" in
        ubuntu-22.04:python) echo python3.11 python3.11-venv ;;
        fedora*:python) echo python3.13 ;;
        *:python) echo python3 python3-venv ;;
        fedora*:venv) echo python3-libs ;;
        *:venv) echo "python$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" ;;
        fedora*:libgomp.so.1) echo libgomp ;;
        fedora*:libquadmath.so.0) echo libquadmath ;;
        *:libgomp.so.1) echo libgomp1 ;;
        *:libquadmath.so.0) echo libquadmath0 ;;
    esac
}

require_system_packages() {
    system=$(. "${OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "$ID-${VERSION_ID:-}") || system=unknown
    missing=
    if ! python=$(find_python); then
        missing="$(find_package python)"
    elif ! "$python" -I -c 'import ensurepip, venv' 2>/dev/null; then
        missing="$(find_package venv)"
    fi
    if uses_mxnet; then
        # MXNet's wheel loads both, and fails without them only at import.
        libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
        for library in libgomp.so.1 libquadmath.so.0; do
            case $libraries in *"$library"*) ;; *) missing="$missing $(find_package "$library")" ;; esac
        done
    fi
    [ -n "$missing" ] || return 0
    case $system in
        debian* | ubuntu*) how="apt-get install" ;;
        fedora*) how="dnf install" ;;
        *) fail "missing:" $missing "(names of Debian); expected Python 3.11, 3.12 or 3.13 with venv, libgomp and libquadmath" ;;
    esac
    [ "$(id -u)" = 0 ] || how="sudo $how"
    fail "missing system packages; install them with:" $how $missing
}

name_stamp() { if [ "$venv" = .venv ]; then echo ".venv/$1.ok"; else echo "$venv/ok"; fi; }

# The stamp of an installation is written last, so an environment without one is incomplete.
is_current() {
    # What a larger lock installed contains the packages of this one.
    case $lock in run) larger="export dev" ;; *) larger=dev ;; esac
    [ "$venv" = .venv ] || larger=
    for name in "$lock" $larger; do
        [ "$(name_stamp "$name")" -nt "requirements/$name.txt" ] && "$PWD/$venv/bin/python" -I -S -c '' 2>/dev/null && has_task && return
    done
    return 1
}

uses_mxnet() { case $lock in server | docs | tensorboard | mlflow) return 1 ;; esac; }

# Only what has MXNet runs a task.
uses_task() { uses_mxnet && [ -e requirements/task.txt ]; }

# $venv/task.in is the file of what is installed: a copied or restored file may be older than the installation.
has_task() { ! uses_mxnet || [ "$(cat requirements/task.txt 2>/dev/null)" = "$(cat $venv/task.in 2>/dev/null)" ]; }

make_venv() {
    # Replace an environment that was created by another Python, whose Python was removed, or whose creation was interrupted.
    version=$("$python" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ ! -d "$venv/lib/python$version" ] || ! $venv/bin/python -I -S -c '' 2>/dev/null || ! has_installer; then
        rm -rf "$venv"
        "$python" -m venv "$venv" || fail "$venv could not be created, see above"
    fi
}

has_installer() { $venv/bin/uv --version >/dev/null 2>&1 || $venv/bin/python -m pip --version >/dev/null 2>&1; }

install_uv() {
    # uv needs a tenth of pip's CPU time. Its own version and hash come from the lock; the lock of a tool does not have it, that of dev does.
    if ! $venv/bin/uv --version >/dev/null 2>&1; then
        source=$lock
        [ "$venv" = .venv ] || source=dev
        awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' "requirements/$source.txt" >$venv/uv.txt
        $venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r $venv/uv.txt ||
            return 1
    fi
    # uv does not read pip's configuration.
    if [ ! -e $venv/index ]; then
        index=${PIP_INDEX_URL:-$($venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
        echo "$index" >$venv/index
    fi
    if [ -n "$(cat $venv/index)" ] && [ -z "${UV_DEFAULT_INDEX:-}" ]; then
        export UV_DEFAULT_INDEX="$(cat $venv/index)"
    fi
}

# A conflict is found before anything that is installed changes.
resolve_task() {
    PATH=$PWD/$venv/bin:$PATH requirements/task.sh requirements/task.txt "requirements/$lock.txt" $venv/bin/python $venv/task.txt
}

install_packages() {
    # One command installs both files, because it removes what is in neither.
    set -- "requirements/$lock.txt"
    ! uses_task || set -- "$@" "$venv/task.txt"
    # The list of packages would bury what follows; --quiet would hide the progress, too. A pipe has one exit code,
    # that of its last command, so a file notes uv's.
    rm -f $venv/failed
    { $venv/bin/uv pip sync --python $venv/bin/python --require-hashes "$@" 2>&1 || : >$venv/failed; } |
        awk '!/^ [-+~] / { print; fflush() }'
    [ ! -e $venv/failed ]
}

lock=${1:-}
case $lock in
    run | export | dev | server | client) venv=.venv ;;
    docs | tensorboard | mlflow | simulation) venv=.venv-$lock ;;
    *) fail "usage: requirements/venv.sh LOCK; expected run, export, dev, server, client, docs, tensorboard, mlflow or simulation, found '$lock'" ;;
esac
# If two commands run at once, the second waits, and then finds what the first has installed.
if command -v flock >/dev/null 2>&1; then
    exec 9<requirements/venv.sh
    flock 9
fi
if ! is_current; then
    require_system_packages
    echo "setting up $venv for $lock with $python"
    make_venv
    again="check the network, or the package index that pip is configured with, and run the command again"
    install_uv || fail "could not install uv, see above: $again"
    if uses_task; then
        resolve_task || exit 2
        with_task=" with requirements/task.txt"
        again="$again; a package without a wheel is compiled, which needs gcc, g++ and Python's headers (Debian: python3-dev)"
    fi
    rm -f $venv/*.ok $venv/ok $venv/task.in
    install_packages || fail "could not install requirements/$lock.txt${with_task:-}, see above: $again"
    ! uses_task || cp requirements/task.txt $venv/task.in
fi
touch "$(name_stamp "$lock")"
