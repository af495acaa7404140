"""What is written: paths, the atomic write and the stores."""

from __future__ import annotations

from collections.abc import Mapping

from spectral_prep.choices import Format
from spectral_prep.store.interface import Store
from spectral_prep.store.webdataset_store import WebDatasetStore
from spectral_prep.store.zarr_store import ZarrStore

STORES: Mapping[Format, Store] = {"zarr": ZarrStore(), "webdataset": WebDatasetStore()}
