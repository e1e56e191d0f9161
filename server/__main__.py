"""`python -m server`: serves a run, or carries out a command of the authority, and exits with its code."""

import sys

from fedmx.program import refuse_arguments, run_program


def main() -> None:
    """Do what the arguments say; all else comes from settings."""
    if sys.argv[1:2] == ["pki"]:
        from server import pki  # noqa: PLC0415 - an authority needs no Flower, which takes long to import

        pki.main(sys.argv[2:])
        return
    refuse_arguments(but="pki")
    from server import serving  # noqa: PLC0415 - see above

    serving.main()


if __name__ == "__main__":
    run_program(main)
