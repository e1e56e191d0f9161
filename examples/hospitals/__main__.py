"""`python -m examples.hospitals FOLDER`: writes a folder for each hospital, and patients without labels."""

import sys
from pathlib import Path

from examples.hospitals.data import COLUMNS, SITES, generate, write

NEW_PATIENTS = 5


def main(arguments: list[str]) -> int:
    """Write the files and return the exit code."""
    if len(arguments) != 1:
        print("expected one argument: the folder to write to", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    for site in SITES:
        write(folder / site / "patients.csv", generate(site))
    # Next year's patients, whose readmission is not known yet.
    new = [row for site in SITES for row in generate(site, seed=1)[1 : NEW_PATIENTS + 1]]
    write(folder / "new_patients.csv", [row[:-1] for row in [COLUMNS, *new]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
