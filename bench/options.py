"""Options of the benchmarks' command lines."""

import argparse
from collections.abc import Callable, Sequence


def choose(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the parser of an option that is a list of known names, separated by commas."""

    def parse(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",")]
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: expected names from {','.join(known)}"
            )
        return chosen

    return parse
