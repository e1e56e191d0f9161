#!/bin/sh
# Write a CycloneDX bill of materials of each image's Python packages to sbom/.
set -eu
cd "$(dirname "$0")/.."
mkdir -p sbom
for image in server client gpu tensorboard; do
    # What the images' Python 3.11 installs of the lock.
    .venv/bin/uv pip compile "requirements/$image.txt" --no-deps --python-version 3.11 --python-platform linux --no-config \
        --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet |
        .venv/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
            --output-file "sbom/$image.cdx.json" -
    echo "sbom/$image.cdx.json"
done
