"""`python -m quarantine`, and the console script."""

import gc
import signal
import sys

__all__ = ["run"]


def run() -> None:
    """Runs the command line and exits with its status."""
    # A run is short and makes few cycles: collecting often, and once more when it ends, would take a tenth of its time.
    gc.set_threshold(200_000)
    # Whoever cancels a pipeline sends SIGTERM: children and temporary files go with us then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from quarantine.cli.main import main  # noqa: PLC0415  # what it imports is part of the run

    status = main(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
