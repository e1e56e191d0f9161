#!/bin/sh
# Reduce a virtual environment to what an image runs: `requirements/slim.sh VENV MODULE...`. Versions do not change.
set -eu
venv=$1
shift
cd "$venv"/lib/python3.*/site-packages

# Flower's own engines install dependencies of apps with uv. No image starts them.
rm -f "$venv"/bin/uv "$venv"/bin/uvx
find . -type d -name tests -prune -exec rm -rf {} +
# Type stubs.
find . -name '*.pyi' -delete
# Debug symbols. strip would break the libraries in *.libs, which the wheel's build tool patched; NVIDIA's have no symbols.
find . -name '*.so*' -type f -not -path './*.libs/*' -not -path './nvidia/*' -exec strip --strip-debug {} +
# Compile what these modules import, and nothing else. A container's root is read-only, so it cannot be compiled later.
for module in "$@"; do "$venv"/bin/python -c "import $module"; done
