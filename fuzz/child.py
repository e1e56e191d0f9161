"""`python -m fuzz.child TARGET SEEDS FLAGS...`: one target under libFuzzer, which ends the process itself."""

import importlib
import sys
from pathlib import Path


def main(target: str, seeds: str, *flags: str) -> None:
    """Fuzz a target."""
    # It has no types.
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["fedmx"]):
        run = importlib.import_module(f"fuzz.{target}").run
        importlib.import_module("fuzz.seeds").write_seeds(Path(seeds))
    atheris.Setup([f"fuzz.{target}", *flags, seeds], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
