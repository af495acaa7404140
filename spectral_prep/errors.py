"""What can go wrong, said once and the same way everywhere.

Input: what happened, where, what was expected, what was found, what to run next.
Output: an exception whose text is that one paragraph and whose `exit_code` the command line returns:
2 when the user's input has to change, 1 when data or a disk is at fault. Whatever names a file brings into it, the
paragraph is fit to be printed (`printable`).
"""

from __future__ import annotations

from spectral_prep.printable import one_line, printable


class SpectralError(Exception):
    """Any failure that this package explains; never raised itself, only its kinds below.

    `what` happened and `parts`, (label, text) of what is known beside it, are what a terminal shows a line each; its
    `str` is all of it in one paragraph.

    >>> str(InputError("--shard 99 does not exist", expected="0 to 15", run="spectral-train --shard 15"))
    '--shard 99 does not exist. Expected: 0 to 15. Run next: spectral-train --shard 15'
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        run: str | None = None,
    ) -> None:
        place = None if where is None else one_line(where)
        parts = (("Where", place), ("Expected", expected), ("Got", got), ("Run next", run))
        self.what = printable(what)
        self.parts = tuple((name, printable(value)) for name, value in parts if value is not None)
        super().__init__(printable(". ".join([what, *(f"{name}: {value}" for name, value in self.parts)])))

    def advised(self, run: str) -> SpectralError:
        """Return the same failure with what to run next, unless it says so already.

        >>> str(CorruptFileError("unreadable record", where="a.json").advised("delete a.json"))
        'unreadable record. Where: a.json. Run next: delete a.json'
        """
        known = dict(self.parts)
        if "Run next" in known:
            return self
        where, expected, got = map(known.get, ("Where", "Expected", "Got"))
        return type(self)(self.what, where=where, expected=expected, got=got, run=run)


class InputError(SpectralError):
    """What the user asked for cannot be done: an option, a path, a layout of folders."""

    exit_code = 2


class PlanMismatchError(SpectralError):
    """The output folder was planned with another configuration, or branches do not belong together."""

    exit_code = 2


class CorruptSourceError(SpectralError):
    """The images or labels to convert are damaged: truncated, mislabelled, not what their name says."""


class CorruptFileError(SpectralError):
    """A file of a converted data set or of a run is damaged, missing or not what its record vouches for."""


class StorageError(SpectralError):
    """The disk refused: full, read-only, failing."""


class WorkerError(SpectralError):
    """A worker process was killed from outside, most often for its memory."""


class KernelError(SpectralError):
    """A compiled kernel cannot be built or run on this machine: the compiler, the driver or the device refused."""
