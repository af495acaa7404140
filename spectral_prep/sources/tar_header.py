"""Tar headers from anybody, read in bounded memory and time.

Input: an archive that tarfile reads with `tarinfo=BoundedHeader`. Output: its headers, or a `tarfile.TarError`. On its
own tarfile takes what a header says: an extended header of 8 GB is read into memory, ten thousand of them in a row are
ten thousand nested calls, and a map of holes is gathered whatever its length.
"""

from __future__ import annotations

import tarfile

LARGEST_EXTENSION = 1 << 20
"""Bytes of an extended header: a long name, attributes of a file."""

MOST_GLOBAL_FIELDS = 256
MOST_HOLE_BLOCKS = 1 << 12
EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class BoundedHeader(tarfile.TarInfo):
    """A header whose extensions are bounded. Sparse files count as sparse, but where their holes are is not kept.

    `_proc_member` and the methods that it calls are the points that tarfile provides for subclasses.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> BoundedHeader:
        """Return the next header of an archive; raise `tarfile.TarError` for whatever is wrong with it."""
        try:
            return super().fromtarfile(archive)
        except (tarfile.TarError, OSError):
            raise
        except Exception as error:  # numbers that are none, names in no encoding, too many extensions in a row
            raise tarfile.ReadError(f"a damaged header: {type(error).__name__}: {error}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in EXTENSIONS:
            if not 0 <= self.size <= LARGEST_EXTENSION:
                raise tarfile.ReadError(f"an extended header of {self.size} bytes")
            fields = archive.pax_headers
            if len(fields) > MOST_GLOBAL_FIELDS or sum(map(len, fields.values())) > LARGEST_EXTENSION:
                raise tarfile.ReadError(f"{len(fields)} fields in global headers")
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return found

    def _proc_sparse(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        _, extended, size = self._sparse_structs  # type: ignore[attr-defined]
        blocks = 0
        while extended and blocks < MOST_HOLE_BLOCKS:
            extended = bool(archive.fileobj.read(tarfile.BLOCKSIZE)[504:505].strip(b"\0"))
            blocks += 1
        if extended:
            raise tarfile.ReadError("a map of holes that does not end")
        self.sparse = b""
        self.offset_data = archive.fileobj.tell()
        archive.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        self.size = size
        return self

    def _proc_gnusparse_10(self, found: tarfile.TarInfo, *_: object) -> None:
        found.sparse = b""
