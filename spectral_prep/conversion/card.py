"""The dataset card: `README.md` in the output, for whoever finds the folder and has never heard of this package.

Input: the plan and the records of all spectral folders. Output: Markdown that says what the data set is, how to
mount one spectral of it, how to read it with plain zarr, xarray or webdataset, and how to put an image together again.
It names no time and no machine: equal data sets have equal cards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from string import Template

from spectral_prep.choices import Format
from spectral_prep.printable import shown
from spectral_prep.store.layout import spectral_name
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.read_folder import part_bytes
from spectral_prep.store.records import SpectralRecord, SplitInfo

EXAMPLE = 3
MOST_CLASSES = 20

CARD = Template("""\
# $dataset, $q spectrals

The images of `$dataset`, converted by `spectral-prep` into $q row-aligned *spectrals*: every image is regrouped into
$q1 x $q2 = $q small images (layout `$layout`), an orthonormal transform runs along that axis (`$transform`), and each
result lies in a folder of its own. Row i is the same image in every folder. A node trains on one of them alone.

| | |
|---|---|
| rows | $rows |
| classes | $classes |
| images | $height x $width x $channels (height, width, channels) |
| a row of one spectral | $shape (channels, height, width), $dtype |
| stored as | $stored, $bytes bytes |
| data set | `$dataset_id` |
| plan | `$plan_id` |

`plan.json` fixes how it was made, `rows/` says which source image each row id is, `manifest.json` lists every file with
its sha256. Training rows stand in $order; a label of -1 marks an image that could not be read.

## Mount one shard

`$folder/` is all that a node needs: mount it, read-only if you like, or copy it.

```sh
spectral-prep verify $folder
spectral-train --data $folder --shard $k
```

## Read it

$read

## Put images together again

```python
$merge
```

## Spectrals

Energy is the variance of the training rows, in grey levels squared; a deviation is its root.

| spectral | energy % | deviation | bytes |
|--:|--:|--:|--:|
$spectrals
""")

STORED: Mapping[Format, str] = {"zarr": "Zarr v3", "webdataset": "WebDataset tars"}

ORDER = {"global": "a seeded random order", "none": "the order of their names"}

READ_ZARR = Template("""\
Each spectral folder is a Zarr v3 group. With [zarr](https://zarr.readthedocs.io):

```python
import zarr

rows = zarr.open_group("$folder/train", mode="r")
x = rows["x"][:64]$decode_zarr  # (64, channels, height, width) in grey levels
labels, ids = rows["y"][:64], rows["id"][:64]
```

With [xarray](https://xarray.dev), which applies the scalars by itself:

```python
import xarray

rows = xarray.open_zarr("$folder", group="train", consolidated=False)
x, labels = rows.x[:64].values, rows.y[:64].values  # in grey levels
```""")

READ_WEBDATASET = Template("""\
Each sample of a tar is `x.npy` and `cls`; its key is the row's place in the split. `train-y.npy` and `train-id.npy`
hold the labels and row ids of all places. With [webdataset](https://github.com/webdataset/webdataset):

```python
import glob
import json
from pathlib import Path

import webdataset

record = json.loads(Path("$folder/spectral.json").read_text())
tars = sorted(glob.glob("$folder/train-*.tar"))
for sample in webdataset.WebDataset(tars, shardshuffle=False).decode():
    x = sample["x.npy"]$decode_webdataset  # (channels, height, width) in grey levels
    label = sample["cls"]  # a number, its name is record["classes"][label]
```""")

MERGE_ZARR = Template("""\
import numpy as np
import torch
import zarr
from spectral_prep.spectrum import SpectralSpec, merge

spectrals = [zarr.open_array(f"spectral-{k:02d}/train/x", mode="r") for k in range($q)]
spectrum = np.stack([$stacked_zarr for x in spectrals])
spec = SpectralSpec($q1, $q2, "$layout", "$transform")
images = merge(torch.from_numpy(spectrum).float(), spec)  # (8, height, width, channels) uint8""")

MERGE_WEBDATASET = Template("""\
import glob
import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import webdataset
from spectral_prep.spectrum import SpectralSpec, merge


def first_rows(k):
    record = json.loads(Path(f"spectral-{k:02d}/spectral.json").read_text())
    tars = sorted(glob.glob(f"spectral-{k:02d}/train-*.tar"))
    samples = islice(webdataset.WebDataset(tars, shardshuffle=False).decode(), 8)
    return np.stack([sample["x.npy"] for sample in samples])$decode_webdataset


spectrum = np.stack([first_rows(k) for k in range($q)])
spec = SpectralSpec($q1, $q2, "$layout", "$transform")
images = merge(torch.from_numpy(spectrum).float(), spec)  # (8, height, width, channels) uint8""")

READ: Mapping[Format, Template] = {"zarr": READ_ZARR, "webdataset": READ_WEBDATASET}
MERGE: Mapping[Format, Template] = {"zarr": MERGE_ZARR, "webdataset": MERGE_WEBDATASET}


def card(plan: Plan, dataset_id: str, records: Sequence[SpectralRecord]) -> str:
    """Return the card of a data set from its plan and the records of its Q spectral folders."""
    k = min(EXAMPLE, plan.spec.q - 1)
    sizes = [part_bytes(record) for record in records]
    shared = {
        "dataset": plan.title,
        "q": plan.spec.q,
        "q1": plan.spec.q1,
        "q2": plan.spec.q2,
        "layout": plan.spec.layout,
        "transform": plan.spec.transform,
        "k": k,
        "folder": spectral_name(k),
    }
    code = shared | _decoding(plan)
    return CARD.substitute(
        shared,
        rows=", ".join(_rows(name, split) for name, split in records[0].splits.items()),
        classes=_classes(plan.classes),
        height=plan.geometry.height,
        width=plan.geometry.width,
        channels=plan.geometry.channels,
        shape=plan.spectral_shape,
        dtype=_dtype(plan),
        stored=f"{STORED[plan.store]}, compression {plan.compression}",
        bytes=f"{sum(sizes):,}",
        dataset_id=dataset_id,
        plan_id=plan.plan_id,
        order=ORDER[plan.shuffle],
        read=READ[plan.store].substitute(code),
        merge=MERGE[plan.store].substitute(code),
        spectrals="\n".join(_spectral_lines(records[0].energy, sizes)),
    )


def _decoding(plan: Plan) -> dict[str, str]:
    """Return the pieces of code that turn stored int8 into grey levels; a float is stored as it is."""
    if plan.encoding.dtype != "int8":
        return {"decode_zarr": "", "decode_webdataset": "", "stacked_zarr": "x[:8]"}
    scalars = 'record["encoding"]["{}"][record["k"]]'.format
    return {
        "decode_zarr": ' * rows["x"].attrs["scale_factor"] + rows["x"].attrs["add_offset"]',
        "decode_webdataset": f" * {scalars('scale_factor')} + {scalars('add_offset')}",
        "stacked_zarr": 'x[:8] * x.attrs["scale_factor"] + x.attrs["add_offset"]',
    }


def _dtype(plan: Plan) -> str:
    if plan.encoding.dtype != "int8":
        return f"{plan.encoding.dtype}, the coefficient in grey levels"
    return "int8: grey levels = stored * `scale_factor` + `add_offset`, a pair a spectral"


def _rows(name: str, split: SplitInfo) -> str:
    views = f", {split.views} views of each image" if split.views > 1 else ""
    bad = f", {split.bad_rows} without an image" if split.bad_rows else ""
    return f"{split.rows:,} {name}{views}{bad}"


def _classes(names: Sequence[str]) -> str:
    more = ", …" if len(names) > MOST_CLASSES else ""
    first = ", ".join(map(shown, names[:MOST_CLASSES]))
    return f"{len(names):,}: {first}{more}".replace("|", "\\|").replace("<", "&lt;").replace("[", "&#91;")


def _spectral_lines(energy: Sequence[float], sizes: Sequence[int]) -> Iterator[str]:
    total = sum(energy) or 1.0
    for k, (value, size) in enumerate(zip(energy, sizes, strict=True)):
        yield f"| {k} | {100 * value / total:.2f} | {math.sqrt(value):.2f} | {size:,} |"
