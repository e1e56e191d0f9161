"""Write a CycloneDX bill of materials for each image into sbom/: `make sbom`. No engine is needed.

What an image's lock names is listed with version and hashes; one of a package's hashes is that of the file
in the image. What the Dockerfile installs from Debian is listed by name: its version is that of the day. What
those need in turn, and what the base image holds, is not listed: each bill says that it is incomplete.
"""
# ruff: noqa: INP001 - a program of its own

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

IMAGES = {"server": "Dockerfile.server", "client": "Dockerfile.client", "gpu": "Dockerfile.client"}
NAMES = {"server": "fedmx-server", "client": "fedmx-client", "gpu": "fedmx-client-gpu"}


def make(lock: str) -> dict[str, Any]:
    """Give the bill of the image that is made from a lock."""
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
    options = [
        "--pyproject",
        "pyproject.toml",
        "--output-reproducible",
        "--spec-version",
        "1.6",
        "--no-validate",
    ]
    done = subprocess.run(
        [*command, *options, f"requirements/{lock}.txt"], capture_output=True, text=True, check=True
    )
    bill: dict[str, Any] = json.loads(done.stdout)
    packages = [_describe(component) for component in bill["components"]]
    root = bill["metadata"]["component"]
    root.update({"name": NAMES[lock], "type": "container", "bom-ref": NAMES[lock]})
    bill["metadata"]["tools"]["components"] = [
        {key: tool[key] for key in ("type", "name", "version")}
        for tool in bill["metadata"]["tools"]["components"]
    ]
    bill["components"] = [*packages, *_list_system(Path(IMAGES[lock]).read_text())]
    bill["compositions"] = [{"aggregate": "incomplete", "assemblies": [root["bom-ref"]]}]
    del bill["dependencies"]
    return bill


def _describe(component: dict[str, Any]) -> dict[str, Any]:
    """Keep what the lock says of a package; the address that files came from is nobody's business."""
    name = component["purl"]
    hashes = [one for reference in component["externalReferences"] for one in reference["hashes"]]
    files = {"type": "distribution", "url": name, "comment": "hashes of all its files", "hashes": hashes}
    kept = {key: component[key] for key in ("type", "name", "version", "purl")}
    return {**kept, "bom-ref": name, "externalReferences": [files]}


def _list_system(dockerfile: str) -> list[dict[str, Any]]:
    """Give the base image, and what the stage on which all others stand installs by name."""
    base, tag = re.findall(r"^ARG BASE=(\S+):(\S+)$", dockerfile, re.MULTILINE)[0]
    stage = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1]
    installed = re.findall(r"apt-get install -y --no-install-recommends ([^&|;\\\n]+)", stage)
    names = sorted(name for line in installed for name in line.split())
    return [
        {"type": "container", "name": base, "version": tag, "bom-ref": f"pkg:docker/{base}@{tag}"},
        *(
            {"type": "library", "name": name, "purl": purl, "bom-ref": purl}
            for name in names
            for purl in [f"pkg:deb/{base}/{name}"]
        ),
    ]


def main() -> None:
    """Write the bills, each once it is valid."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    Path("sbom").mkdir(exist_ok=True)
    for lock in IMAGES:
        bill = make(lock)
        text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
        if fault := validator.validate_str(text):
            sys.exit(f"sbom/{lock}.cdx.json: not valid CycloneDX: {fault}")
        path = Path("sbom", f"{lock}.cdx.json")
        path.write_text(text)
        print(f"{path}: {len(bill['components'])} components")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    main()
