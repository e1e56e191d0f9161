#!/bin/sh
# Leave in a virtual environment what an image runs: `requirements/slim.sh VENV MODULE...`. Versions stay as they are.
set -eu
venv=$1
shift
cd "$venv"/lib/python3.*/site-packages

# Flower fetches apps' dependencies with it on its own engines, which no image starts.
rm -f "$venv"/bin/uv "$venv"/bin/uvx
find . -type d -name tests -prune -exec rm -rf {} +
# Debug symbols. Libraries in *.libs were patched by the tool that made the wheel, and do not survive; NVIDIA's have none.
find . -name '*.so*' -type f -not -path './*.libs/*' -not -path './nvidia/*' -exec strip --strip-debug {} +
# Byte code of what these modules import, and of nothing else; the root of a container is read-only.
for module in "$@"; do "$venv"/bin/python -c "import $module"; done
