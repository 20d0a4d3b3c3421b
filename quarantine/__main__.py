"""`python -m quarantine`, and the console script."""

import sys

from quarantine.cli.main import main

__all__ = ["run"]


def run() -> None:
    """Runs the command line and exits with its status."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
