#!/bin/sh
# Make .venv from locks of this folder: `requirements/venv.sh client`, `requirements/venv.sh dev` (server, client, tools).
# A .venv that holds them is left alone; one that is broken, half made or made from other locks is made anew.
set -eu
unset CDPATH PYTHONHOME PYTHONPATH
cd "$(dirname "$0")/.."

fail() {
    echo "$*" >&2
    exit 2
}

# The copies of the locks are written last, so a .venv without them is half made.
is_current() {
    for name in $locks; do
        cmp -s "requirements/$name.txt" ".venv/locks/$name.txt" || return 1
    done
    .venv/bin/python -I -S -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}

# A name on PATH proves nothing: it may be a shim that fails, another version, or the .venv that goes away.
find_python() {
    for candidate in python3.11 python3; do
        "$candidate" -I -c '
import sys
if sys.version_info[:2] != (3, 11) or sys.implementation.name != "cpython": sys.exit(1)
print(sys._base_executable)' 2>/dev/null && return
    done
    return 1
}

choose_installer() {
    python=$(find_python) || python=
    if [ -n "$python" ] && "$python" -I -c 'import ensurepip, venv' 2>/dev/null; then
        installer=pip
    elif uv --version >/dev/null 2>&1; then
        installer=uv
    elif [ -n "$python" ]; then
        fail "Python 3.11 is here without its venv module: apt-get install python3.11-venv"
    else
        fail "no Python 3.11: apt-get install python3.11 python3.11-venv (Debian 12, Ubuntu 22.04)," \
            "or install uv, which fetches it"
    fi
}

make_venv() {
    rm -rf .venv
    case $installer in
        pip) "$python" -m venv .venv ;;
        uv) uv venv --quiet --python "${python:-3.11}" .venv ;;
    esac
}

install_locks() {
    set --
    for name in $locks; do set -- "$@" -r "requirements/$name.txt"; done
    case $installer in
        pip) .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes "$@" ;;
        uv) uv pip install --quiet --python .venv/bin/python --require-hashes "$@" ;;
    esac
}

# MXNet's wheel loads two libraries of the system, and says so only when it is imported.
require_system_libraries() {
    case " $locks " in *" client "* | *" dev "* | *" gpu "*) ;; *) return 0 ;; esac
    [ "$(uname -s)" = Linux ] || return 0
    lacking=$(.venv/bin/python -I -c '
import ctypes
for library, package in {"libgomp.so.1": "libgomp1", "libquadmath.so.0": "libquadmath0"}.items():
    try: ctypes.CDLL(library)
    except OSError: print(package)')
    [ -z "$lacking" ] || fail "MXNet needs libraries that are not here: apt-get install" $lacking
}

locks=$*
[ -n "$locks" ] || fail "usage: requirements/venv.sh LOCK..., for instance: requirements/venv.sh dev"
for name in $locks; do
    [ -f "requirements/$name.txt" ] || fail "no lock requirements/$name.txt"
done
is_current && exit 0

# Two commands at once: the second waits, and then finds what the first has made.
if command -v flock >/dev/null 2>&1; then
    exec 9<requirements/venv.sh
    flock 9
    is_current && exit 0
fi
choose_installer
echo "setting up .venv (about 40 s, once)"
make_venv || fail ".venv could not be made, see above"
require_system_libraries
# pip and uv warn about much that does not matter; what they said matters when they failed.
install_locks >.venv/setup.log 2>&1 || {
    tail -n 20 .venv/setup.log >&2
    fail "could not install the lock $locks of requirements/, see above:" \
        "check the network, or the mirror that pip is set to, and try again"
}
mkdir .venv/locks
case " $locks " in *" dev "*) locks="dev server client" ;; esac  # the first holds the other two
for name in $locks; do cp "requirements/$name.txt" .venv/locks/; done
