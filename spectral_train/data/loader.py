"""From rows, wherever they are, to batches: order, augmentation and noise are pure functions of (seed, epoch, step).

Input: a `RowSource` (rows as stored, int8 stays int8) and the positions to visit. Output: float32 standardised
batches on the device. One batch at a time is decoded; nothing the size of the shard is ever made beside it but the
order (4 bytes a row).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.errors import InputError
from spectral_prep.store.interface import BAD_LABEL
from spectral_train.data.order import Positions, by_view, order_seed, positions_of
from spectral_train.data.placement import check_shard, open_rows, placement
from spectral_train.data.rows import Group, RowSource
from spectral_train.data.shard import Shard, read_labels

STATE_VERSION = 1


class Change(Protocol):
    """What a training batch goes through after it was standardised: `augment.Augmenter`, or nothing."""

    def __call__(self, x: Tensor, y: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return the changed batch; `x` may be overwritten."""
        ...


@dataclass(frozen=True)
class LoaderOptions:
    """What a loader seldom needs to be told.

    Parameters
    ----------
    split
        "train" or "test".
    views
        Ascending positions of the rows, by default all good ones of each view that was baked in; of several an epoch
        visits one, in turn.
    memory
        Bytes of RAM for the rows; if they do not fit they are streamed. Half of what is available unless said.
    shuffle
        Otherwise rows come as they are stored.
    drop_last
        Leave out the last batch of an epoch if it is not full.
    """

    split: str = "train"
    views: Sequence[Positions] | None = None
    memory: int | None = None
    shuffle: bool = True
    drop_last: bool = False


DEFAULT_OPTIONS = LoaderOptions()


class ShardLoader:
    """Batches of a shard, epoch after epoch, for any training loop.

    Iterating yields (x, y): standardised float32 (n, G·C, h, w) and int64 (n,) on the device, n = `batch_size` but for
    the last batch; with mixup or cutmix y is (n, classes) float32, the share of each class. Every iteration is an epoch
    with an order of its own: that of `set_epoch`, or the one after the last. Bad rows never come.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from spectral_prep.conversion.convert import convert
    >>> from spectral_prep.conversion.request import Request
    >>> from spectral_train.data.shard import open_shard
    >>> folder = TemporaryDirectory()
    >>> shard = open_shard(convert(Request("digits", "4"), Path(), Path(folder.name) / "digits-q4").root, 0)

    The training rows, each once an epoch, in a new order every time:

    >>> loader = ShardLoader(shard, batch_size=128)
    >>> x, y = next(iter(loader))
    >>> tuple(x.shape), tuple(y.shape), x.dtype, y.dtype
    ((128, 1, 4, 4), (128,), torch.float32, torch.int64)
    >>> sum(len(y) for _, y in loader), len(loader)
    (1438, 12)

    The test rows as they are stored; and full batches of training rows, which may take a MiB of memory (what does not
    fit is streamed):

    >>> test = ShardLoader(shard, 100, options=LoaderOptions(split="test", shuffle=False))
    >>> sum(len(y) for _, y in test)
    359
    >>> full = ShardLoader(shard, 100, seed=7, options=LoaderOptions(memory=2**20, drop_last=True))
    >>> {len(y) for _, y in full}
    {100}

    Augmented, and stopped in the middle of an epoch; a new loader goes on with the next batch:

    >>> from spectral_train.data.augment import Augmenter, SpectralInput
    >>> from spectral_train.recipe.augmentation import Augmentation
    >>> change = Augmenter.of(Augmentation.parse("shift=1"), SpectralInput.of(shard), noise=0.1)
    >>> loader, resumed = (ShardLoader(shard, 128, seed=7, device="cpu", change=change) for _ in range(2))
    >>> batches_of_epoch = iter(loader)
    >>> x, y = next(batches_of_epoch)
    >>> resumed.load_state_dict(loader.state_dict())
    >>> torch.equal(next(batches_of_epoch)[0], next(iter(resumed))[0])
    True
    >>> folder.cleanup()

    Parameters
    ----------
    shard
        From `open_shard`: its files are proved whole, and its rows placed by `memory`; or a `RowSource` that is open.
    batch_size
        Rows a batch.
    seed
        Of order and augmentation. The order is a pure function of the rows' identity (data set and spectrals), the
        seed and the epoch, and if the rows are streamed of the memory that they may take.
    device
        Of the batches; on a GPU the rows themselves are kept there if they take less than half of its free memory.
    change
        Augmentation, applied to standardised batches on the device.
    options
        Split, memory, shuffling: whatever is not the default.

    Raises
    ------
    CorruptFileError
        Naming the file that is missing or damaged; while iterating, if it happened since.
    InputError
        If the batch size is less than 1 or `memory` does not hold two pieces of the shard.
    """

    def __init__(
        self,
        shard: Shard | RowSource,
        batch_size: int,
        seed: int = 0,
        *,
        device: torch.device | str = "cpu",
        change: Change | None = None,
        options: LoaderOptions = DEFAULT_OPTIONS,
    ) -> None:
        if batch_size < 1:
            raise InputError("unusable batch size", expected="1 or more", got=batch_size)
        views = 1
        if isinstance(shard, Shard):
            chosen = placement(shard, options.split, options.memory, device)
            check_shard(shard, chosen)
            labels = read_labels(shard.folders, options.split)
            views = labels.views
            self.rows: RowSource = open_rows(shard, options.split, labels.y, chosen, device)
        else:
            self.rows = shard
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.views = by_view(usable(self.rows.y), views) if options.views is None else tuple(options.views)
        self.shuffle = options.shuffle
        self.drop_last = options.drop_last
        self.change = change
        self._epoch = 0
        self._step = 0
        self._begun = False

    @property
    def epoch(self) -> int:
        """The epoch that is iterated, or the next one."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch from its start, or from where `load_state_dict` put it."""
        if epoch != self._epoch or self._begun:
            self._epoch, self._step, self._begun = epoch, 0, False

    def __len__(self) -> int:
        """Return the number of batches in the epoch."""
        rows = len(positions_of(self.views, self._epoch))
        return rows // self.batch_size if self.drop_last else math.ceil(rows / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._begun:  # the last iteration was left before its end
            self.set_epoch(self._epoch + 1)
        self._begun = True
        epoch, first = self._epoch, self._step
        positions = positions_of(self.views, epoch)
        order = order_seed(self.rows.identity, self.seed, epoch) if self.shuffle else None
        stored = stored_batches(self.rows.groups(positions, order, first * self.batch_size), self.batch_size)
        for step, (x, y) in zip(range(first, len(self)), stored, strict=False):
            x, y = decoded(self.rows, x, y, self.device)
            if self.change is not None:
                x, y = self.change(x, y, epoch, step)
            self._step = step + 1
            yield x, y
        self._epoch, self._step, self._begun = epoch + 1, 0, False

    def state_dict(self) -> dict[str, int | str]:
        """Return where the loader is, as plain JSON: the batches that were handed out count as done.

        In the body of a loop it names the batch after this one; `load_state_dict` in a new loader goes on there.
        """
        return {"version": STATE_VERSION, **self._identity(), "epoch": self._epoch, "step": self._step}

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Take up a state; one that names no version is of version 1, from before states had any.

        Raises
        ------
        InputError
            If it is of another version, other rows, another seed or batch size, or rows streamed with another memory.
        """
        if (version := state.get("version", 1)) != STATE_VERSION:
            raise InputError(
                "the state is of another version of the loader",
                expected=f"version {STATE_VERSION}",
                got=f"version {version}",
                run="the training from its start, or with the version of spectral-shards that wrote the state",
            )
        for name, here in self._identity().items():
            if state.get(name) != here:
                raise InputError(
                    f"the state is that of another loader: {name} differs", expected=here, got=state.get(name)
                )
        self._epoch, self._step, self._begun = int(state["epoch"]), int(state["step"]), False
        if self._step >= len(self):
            self._epoch, self._step = self._epoch + 1, 0

    def _identity(self) -> dict[str, int | str]:
        return {
            "rows": self.rows.identity,
            "count": sum(map(len, self.views)),
            "batch_size": self.batch_size,
            "seed": self.seed,
        }


def batches(
    rows: RowSource, positions: Positions, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (x, y) of the rows at these positions, in their order: standardised float32 (n, C, h, w) and int64 (n,)."""
    for x, y in stored_batches(rows.groups(positions), batch_size):
        yield decoded(rows, x, y, device)


def stored_batches(groups: Iterable[Group], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (x, y) as stored, n = batch_size rows but for the last; a batch may reach across groups."""
    begun: list[tuple[Tensor, Tensor]] = []
    missing = batch_size
    for group in groups:
        start = 0
        while start < len(group.index):
            index = group.index[start : start + missing]
            begun.append((group.x.index_select(0, index), group.y.index_select(0, index)))
            start, missing = start + len(index), missing - len(index)
            if not missing:
                yield _joined(begun)
                begun, missing = [], batch_size
    if begun:
        yield _joined(begun)


def decoded(rows: RowSource, x: Tensor, y: Tensor, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Return a batch on the device, standardised float32 and int64: rows travel as they are stored."""
    return rows.standardise(x.to(device)), y.to(device, torch.int64)


def usable(labels: Tensor) -> npt.NDArray[np.bool_]:
    """Return which rows have an image, (N,) bool: those whose label is not −1."""
    return (labels != BAD_LABEL).cpu().numpy()


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(parts) == 1:
        return parts[0]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
