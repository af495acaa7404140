"""What a user chooses by name, each list once: the types of the code, the records and the options of the commands.

It imports nothing, so that `--help` need not wait for torch to name them.
"""

from __future__ import annotations

from typing import Literal

Layout = Literal["blocks", "tiles"]
"""What becomes the Q axis: see `spectrum.SpectralSpec`."""

Transform = Literal["dct", "dct2", "none"]
"""Along the Q axis: see `spectrum.SpectralSpec`."""

Storage = Literal["int8", "float16", "float32"]
"""The dtype of a stored coefficient: see `encoding.Encoding`."""

Format = Literal["zarr", "webdataset"]
"""How a spectral folder lies on disk: see `store.STORES`."""

Compression = Literal["zstd", "none"]
"""Of the parts; which of them a format can do, its store says."""

Shuffle = Literal["global", "none"]
"""Of the training rows as they are stored: a seeded permutation of their canonical order, or that order."""

OnError = Literal["fail", "skip"]
"""Bad images: list them and do not complete, or keep their slots."""

Device = Literal["auto", "cpu", "cuda"]
"""Where to compute; `auto` is a GPU where there is one."""

EngineName = Literal["processes", "ray"]
"""Where tasks run: see `engines`."""
