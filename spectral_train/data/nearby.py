"""The folders of a shard brought near: those in a bucket are copied to this machine before it trains on them.

Input: a `Shard`. Output: the same shard, whose folders are paths, so that an epoch costs what it costs from a disk.
"""

from __future__ import annotations

from dataclasses import replace

from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Url
from spectral_prep.store.cache import fetched
from spectral_prep.store.layout import SpectralPaths
from spectral_train.data.shard import Shard, SpectralFolder


def nearby(shard: Shard, cache: Cache | None) -> Shard:
    """Return a shard whose folders are in the cache where they lie in a bucket; without a cache, as it is.

    Raises
    ------
    InputError, StorageError, CorruptFileError
        As `spectral_prep.store.cache.fetched` does.
    """
    return shard if cache is None else replace(shard, folders=tuple(_near(each, cache) for each in shard.folders))


def _near(folder: SpectralFolder, cache: Cache) -> SpectralFolder:
    root = folder.paths.root
    if not isinstance(root, Url):
        return folder
    return replace(folder, paths=SpectralPaths(fetched(root, folder.record, cache)))
