"""A held file looked into by its kind: a wheel, a source distribution, or a conda package. None of it is run or unpacked."""

from typing import BinaryIO

from quarantine.archive.inspection import Found
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem

__all__ = ["inspect"]


def inspect(file: ExceptionFile, stream: BinaryIO) -> Found:
    """What is found in the file, of which `stream` has the bytes (seekable). Every check has its answer.

    What is wrong with the bytes is an answer and no exception; MemoryError where they need more memory than there is.
    """
    if file.ecosystem is Ecosystem.CONDA:
        from quarantine.archive.conda_inspect import inspect_conda  # noqa: PLC0415  # each kind loads what it needs

        return inspect_conda(file, stream)
    if file.is_source:
        from quarantine.archive.sdist_inspect import inspect_sdist  # noqa: PLC0415

        return inspect_sdist(file, stream)
    from quarantine.archive.wheel_inspect import inspect_wheel  # noqa: PLC0415

    return inspect_wheel(file, stream)
