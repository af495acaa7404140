"""Looking at one row of a converted data set: the image, its spectrals, and what storing them cost.

Input: a complete data set, a row, and its source where that is at hand. Output: a `Sheet` of all that there is to
see, and from it a PNG: the original, the image put back together and its error; the Q spectrals, each at its own scale;
energy and bytes a spectral. Several rows are a grid: a line each, an image and its spectrals.

Spectrals after the first are differences of neighbours: they are coloured around zero, which is the same grey in every
panel, and what full colour stands for is written there. The first, and all if there is no transform, are images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from spectral_prep.choices import Transform
from spectral_prep.conversion.chosen import as_planned
from spectral_prep.conversion.row_index import named_row
from spectral_prep.encoding import decode
from spectral_prep.errors import InputError
from spectral_prep.inspection.pixels import Pixels, difference, psnr, restored
from spectral_prep.inspection.verify import require_source
from spectral_prep.inspection.verify_values import folders
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.interface import Source
from spectral_prep.store.interface import BAD_LABEL
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.read_folder import readable, stored_labels, stored_rows
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import Manifest

DPI = 100
WIDTH = 11.0  # inches, as are those below
IMAGES, SPECTRAL, CHARTS = 3.4, 2.2, 2.2
FEWEST_COLUMNS, MOST_COLUMNS = 4, 16
CONTRAST_PERCENTILES = (0.5, 99.5)
AROUND_ZERO = "coolwarm"
"""A diverging map of colours whose middle is grey."""


@dataclass(frozen=True)
class Sheet:
    """One row of a data set.

    `spectrum` (Q, C, h, w) is in grey levels; `original` and `merged` are (H, W, C), the former None without a source.
    `energy` (Q,) is the variance of each spectral over all training rows, `size` (Q,) its bytes on disk. `label` is the
    name of the class, None for a bad row.
    """

    split: str
    row: int
    row_id: int
    name: str
    label: str | None
    spectrum: npt.NDArray[np.float32]
    merged: Pixels
    original: Pixels | None
    energy: tuple[float, ...]
    size: tuple[int, ...]
    transform: Transform = "dct"

    def around_zero(self, k: int) -> bool:
        """Whether the values of a spectral are differences, which lie around zero."""
        return k > 0 and self.transform != "none"

    @property
    def largest_error(self) -> int | None:
        """Grey levels by which `merged` differs from `original` at most."""
        return None if self.original is None else int(difference(self.original, self.merged).max())

    @property
    def psnr(self) -> float | None:
        """Of `merged` against `original`, dB; None without a source, infinite where every pixel is equal."""
        return None if self.original is None else psnr(difference(self.original, self.merged))

    @property
    def title(self) -> str:
        """What the row is, in a line."""
        label = "a bad row: no image was stored" if self.label is None else shown(self.label)
        return f"{self.split} row {self.row} · id {self.row_id} · {shown(self.name)} · {label}"


def sheet(root: Place, row: int, split: str = "train", source: Source | None = None) -> Sheet:
    """Return what there is to see of one row.

    Parameters
    ----------
    root
        A complete data set.
    row
        Place in stored order, 0 ≤ row < rows of the split.
    source
        What was converted, for the original image; None leaves it out.

    Raises
    ------
    InputError
        If the data set is not complete, has no such split or row, or was made from another source.
    CorruptSourceError
        If the source's image cannot be read.
    """
    paths = DatasetPaths(root)
    read_record(paths.manifest, Manifest)
    plan = read_record(paths.plan, Plan)
    _require(plan, split, row)
    if source is not None:
        require_source(plan, source, root)
        source = as_planned(paths, plan, source)
    opened = list(folders(paths, plan))
    first, record = opened[0]
    with readable(root):
        labels, ids = stored_labels(first.root, record, split)
        rows = [stored_rows(spectral.root, each, split) for spectral, each in opened]
        stored_QNChw, merged_HWC = restored(plan, rows, row)
    row_id, bad = int(ids[row]), labels[row] == BAD_LABEL
    name, label = named_row(paths, plan, split, row_id)
    return Sheet(
        split=split,
        row=row,
        row_id=row_id,
        name=name,
        label=None if bad else plan.classes[label],
        spectrum=decode(stored_QNChw, plan.encoding)[:, 0].float().numpy(),
        merged=merged_HWC,
        original=None if source is None or bad else plan.image(source.read(split, row_id, name), split, row, row_id),
        energy=record.energy,
        size=tuple(sum(entry.size for entry in each.files) for _, each in opened),
        transform=plan.spec.transform,
    )


def draw(sheet: Sheet) -> bytes:
    """Return the contact sheet as a PNG."""
    columns = min(max(FEWEST_COLUMNS, math.ceil(math.sqrt(len(sheet.spectrum)))), MOST_COLUMNS)
    rows = math.ceil(len(sheet.spectrum) / columns)
    side = min(SPECTRAL, WIDTH / columns)
    heights = (IMAGES, side * rows, CHARTS)
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained")
    figure.suptitle(sheet.title, fontsize=10, parse_math=False)
    grid = figure.add_gridspec(3, 1, height_ratios=heights)
    images, spectrals, chart = (figure.add_subfigure(grid[place]) for place in range(3))
    _draw_images(images.subplots(1, 3), sheet)
    _draw_spectrals(spectrals, spectrals.subplots(rows, columns, squeeze=False).ravel().tolist(), sheet)
    _draw_charts(chart.subplots(1, 2), sheet)
    return _png(figure, sheet.title)


def draw_grid(sheets: Sequence[Sheet]) -> bytes:
    """Return several rows of one split as a PNG: a line each, the image put back together and its spectrals.

    A spectral has one scale in all lines. Of more than 16 those are shown that have most energy.
    """
    first = sheets[0]
    most = sorted(np.argsort(-np.array(first.energy), kind="stable")[:MOST_COLUMNS].tolist())
    columns = 1 + len(most)
    side = min(SPECTRAL, WIDTH / columns)
    figure = Figure(figsize=(WIDTH, side * len(sheets) + 1.0), dpi=DPI, layout="constrained")
    title = f"{first.split} rows {first.row} to {sheets[-1].row}"
    hidden = f"; {len(most)} of {len(first.energy)} spectrals, those of most energy" * (len(most) < len(first.energy))
    figure.suptitle(title + hidden, fontsize=10)
    axes = figure.subplots(len(sheets), columns, squeeze=False)
    scales = {k: max(reach(sheet.spectrum[k]) for sheet in sheets) for k in most}
    for line, each in zip(axes, sheets, strict=True):
        for axis in line:
            axis.set_axis_off()
        _image(line[0], each.merged, f"{each.row}: {'bad row' if each.label is None else shown(each.label)[:16]}")
        for axis, k in zip(line[1:], most, strict=True):
            _draw_spectral(axis, each, k, scales[k])
            title = f"{k}: ±{scales[k]:.3g}" if each.around_zero(k) else f"{k}"
            axis.set_title(title if each is first else "", fontsize=9)
    _colour_bar(figure, axes.ravel().tolist())
    return _png(figure, title)


def reach(spectral_Chw: npt.NDArray[np.float32]) -> float:
    """Return the grey levels from zero that all values but the outermost per cent, mean of the channels, are within."""
    return float(np.percentile(np.abs(spectral_Chw.mean(0)), CONTRAST_PERCENTILES[1])) or 1.0


def around_zero(spectral_Chw: npt.NDArray[np.float32], scale: float) -> Pixels:
    """Return a spectral, mean of its channels, as pixels (h, w, 3): blue below zero, grey at it, red above.

    >>> around_zero(np.array([[[-9.0, 0.0]]], np.float32), 2.0).tolist()
    [[[58, 76, 192], [221, 220, 219]]]
    """
    share = np.clip(spectral_Chw.mean(0) / scale, -1, 1)
    return np.asarray(colormaps[AROUND_ZERO](share / 2 + 0.5, bytes=True)[..., :3], np.uint8)


def own_scale(spectral_Chw: npt.NDArray[np.float32]) -> tuple[Pixels, float]:
    """Return a spectral as pixels (h, w, C), its values from black to white but for the outer half per cent at either
    end, and the grey levels from the middle to either.

    >>> pixels, reach = own_scale(np.array([[[-2.0, 0.0, 2.0]]], np.float32))
    >>> pixels[0, :, 0].tolist(), round(reach, 2)
    ([0, 127, 255], 1.98)
    """
    low, high = np.percentile(spectral_Chw, CONTRAST_PERCENTILES)
    reach = float(high - low) / 2 or 1.0
    shown = 127.5 + 127.5 * (spectral_Chw.transpose(1, 2, 0) - (low + high) / 2) / reach
    return np.clip(shown, 0, 255).astype(np.uint8), reach


def _require(plan: Plan, split: str, row: int) -> None:
    if split not in plan.splits:
        raise InputError("the data set has no such split", expected=f"one of {', '.join(plan.splits)}", got=split)
    if not 0 <= row < plan.splits[split].rows:
        raise InputError(f"no such {split} row", expected=f"0 to {plan.splits[split].rows - 1}", got=row)


def _draw_images(axes: Sequence[Axes], sheet: Sheet) -> None:
    original, merged, error = axes
    for axis in axes:
        axis.set_axis_off()
    _image(merged, sheet.merged, "put back together")
    if sheet.original is None:
        original.set_title("no original: give its --source", fontsize=9)
        return
    _image(original, sheet.original, "original, as converted")
    error_HW = difference(sheet.original, sheet.merged).max(2)
    shown = error.imshow(error_HW, cmap="magma", vmin=0, vmax=max(1, error_HW.max()), interpolation="nearest")
    fidelity = "every pixel equal" if sheet.psnr == math.inf else f"{sheet.psnr:.1f} dB"
    error.set_title(f"error: at most {sheet.largest_error} grey levels, {fidelity}", fontsize=9)
    error.figure.colorbar(shown, ax=error, shrink=0.7)


def _draw_spectrals(figure: SubFigure, axes: Sequence[Axes], sheet: Sheet) -> None:
    for axis in axes:
        axis.set_axis_off()
    for k, axis in zip(range(len(sheet.spectrum)), axes, strict=False):
        _draw_spectral(axis, sheet, k, reach(sheet.spectrum[k]))
    _colour_bar(figure, axes)


def _draw_spectral(axis: Axes, sheet: Sheet, k: int, scale: float) -> None:
    if sheet.around_zero(k):
        pixels_hwC, title = around_zero(sheet.spectrum[k], scale), f"{k}: ±{scale:.3g}"
    else:
        pixels_hwC, own = own_scale(sheet.spectrum[k])
        title = f"{k}: ±{own:.3g} around its mean"
    _image(axis, pixels_hwC, title)


def _colour_bar(figure: Figure | SubFigure, axes: Sequence[Axes]) -> None:
    """Say what the colours mean: what full colour is stands above each panel."""
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), AROUND_ZERO), ax=list(axes), ticks=[-1, 0, 1], shrink=0.8)
    bar.ax.set_yticklabels(["−", "0", "+"])


def _png(figure: Figure, title: str) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Title": title})
    return written.getvalue()


def _draw_charts(axes: Sequence[Axes], sheet: Sheet) -> None:
    energy, size = axes
    numbers = range(len(sheet.size))
    total = sum(sheet.energy) or 1.0
    energy.bar(numbers, [100 * value / total for value in sheet.energy], color="tab:blue")
    energy.set_yscale("log")
    energy.yaxis.set_major_formatter("{x:g}")
    energy.set_title("energy of each spectral, % of the training set's variance", fontsize=9)
    size.bar(numbers, [value / 1e6 for value in sheet.size], color="tab:green")
    size.set_title("bytes of each spectral folder, MB", fontsize=9)
    for axis in axes:
        axis.set_xlabel("spectral", fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.tick_params(labelsize=8)


def _image(axis: Axes, pixels_HWC: Pixels, title: str) -> None:
    grey = pixels_HWC.shape[2] == 1
    axis.imshow(pixels_HWC[..., 0] if grey else pixels_HWC, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=9)
