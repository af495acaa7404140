"""Augmentation of spectrals without the images: what is done here is what the transform of an augmented image would be.

Input: a standardised batch (n, G·C, h, w) of one shard. Output: the batch as if its *images* had been flipped,
shifted, mixed or pasted into each other before they were split. Where a shard does not hold what that takes, it is
refused. Every random choice is a pure function of (seed, epoch, step).

* **Flips.** Mirroring an image mirrors the maps (h, w), and reverses rows or columns of the q1×q2 grid: on the axis Q
  the matrix M = B·P·Bᵀ, with B the transform and P that reversal. With `dct2` M is diagonal, (−1)^u or (−1)^v: every
  spectral is its own partner. With `none` the partner is another spectral, with `dct` (and q1, q2 > 1) there are many:
  exact only if the shard holds them. Both layouts follow the same rule.
* **The mean.** Signs apply to coefficients, not to standardised values z = (X − mean)/std. In z the flip is the affine
  map std⁻¹·(M·(std·z + mean) − mean).
* **Shifts.** Moving an image by q1 and q2 pixels moves the maps of layout `blocks` by 1. The border is filled with
  z = 0: the image is continued by copies of its data set's mean block. With `tiles` pixels would come from other
  spectrals.
* **Mixup** (Zhang et al. 2018) is linear, and so is the transform. **CutMix** (Yun et al. 2019) pastes whole q1×q2
  blocks; with `tiles` a box would appear in every tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec, basis
from spectral_train.recipe.augmentation import Augmentation
from spectral_train.seeds import derive_seed

NEGLIGIBLE = 1e-9


class Spectrals(Protocol):
    """What a shard, or the plan of a branch, says about a network's input."""

    @property
    def spec(self) -> SpectralSpec:
        """How images became spectrals."""
        ...

    @property
    def spectrals(self) -> tuple[int, ...]:
        """The G spectrals."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """(G·C,) of the training rows, grey levels."""
        ...

    @property
    def std(self) -> tuple[float, ...]:
        """(G·C,) of the training rows, grey levels."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        ...


@dataclass(frozen=True)
class SpectralInput:
    """What augmentation has to know of a network's input: which spectrals, and their statistics.

    `spectrals` are those of the shard, `mean` and `std` (G·C,) in grey levels; `block` is the size in pixels of the map
    of what one spectral pixel is: 1×1 for a branch, q1×q2 for the conventional network, whose maps are images.
    """

    spec: SpectralSpec
    spectrals: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    block: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, shard: Spectrals) -> SpectralInput:
        """Return that of a shard, or of the plan of a branch."""
        return cls(shard.spec, shard.spectrals, shard.mean, shard.std, len(shard.classes))

    @classmethod
    def of_images(cls, plan: Spectrals) -> SpectralInput:
        """Return that of whole images, to which the same is done as to their spectrals."""
        block = plan.spec.q1, plan.spec.q2
        return cls(SpectralSpec(1, 1), (0,), plan.mean, plan.std, len(plan.classes), block)


@dataclass(frozen=True)
class Flip:
    """Mirrors standardised maps along `axis` as if the image had been: z → mix·z + offset, channel by channel.

    `mix` is (G·C,) where every channel is its own partner, otherwise (G·C, G·C); `offset` (G·C,).
    """

    axis: int
    mix: Tensor
    offset: Tensor

    @classmethod
    def of(cls, spectral_input: SpectralInput, axis: int) -> Flip:
        """Return the flip of these spectrals along height (−2) or width (−1).

        Raises
        ------
        InputError
            If the flipped image's spectrals are not functions of the shard's; the message says what would be.
        """
        reversal_QQ = _reversal(spectral_input.spec, axis)
        matrix_QQ = basis(spectral_input.spec) @ reversal_QQ @ basis(spectral_input.spec).T
        own = list(spectral_input.spectrals)
        _require_partners(matrix_QQ, own, spectral_input.spec, axis)
        colours = len(spectral_input.mean) // len(own)
        mix = np.kron(matrix_QQ[np.ix_(own, own)], np.eye(colours))
        mean, std = np.array(spectral_input.mean), np.array(spectral_input.std)
        std = np.where(std > 0, std, 1.0)
        scaled = mix * std / std[:, None]
        offset = (mix @ mean - mean) / std
        if np.abs(scaled - np.diag(np.diag(scaled))).max() < NEGLIGIBLE:
            scaled = np.diag(scaled).copy()
        return cls(axis, torch.from_numpy(scaled).float(), torch.from_numpy(offset).float())

    def __call__(self, x: Tensor) -> Tensor:
        """Return all rows mirrored."""
        mix, offset = self.mix.to(x.device), self.offset.to(x.device).view(1, -1, 1, 1)
        mirrored = x.flip(self.axis)
        if mix.ndim == 1:
            return mirrored.mul_(mix.view(1, -1, 1, 1)).add_(offset)
        return torch.einsum("ij,njhw->nihw", mix, mirrored).add_(offset)


@dataclass(frozen=True)
class Augmenter:
    """Augmentation and noise of one network's training batches; a `loader.Change`.

    `noise` is the deviation of Gaussian noise in standardised units, which comes last.
    """

    augmentation: Augmentation
    spectral_input: SpectralInput
    flips: tuple[Flip, ...]
    noise: float
    seed: int

    @classmethod
    def of(
        cls, augmentation: Augmentation, spectral_input: SpectralInput, noise: float = 0.0, seed: int = 0
    ) -> Augmenter:
        """Return the augmenter of a shard.

        Raises
        ------
        InputError
            If something of it would not be exact in these spectrals; the message says why and what would be.
        """
        if augmentation.shift or augmentation.cutmix:
            require_blocks(
                spectral_input.spec,
                "shift" if augmentation.shift else "cutmix",
                "the same command without it in --augment",
            )
        axes = [axis for axis, wanted in ((-1, augmentation.flip), (-2, augmentation.vflip)) if wanted]
        return cls(augmentation, spectral_input, tuple(Flip.of(spectral_input, axis) for axis in axes), noise, seed)

    def __call__(self, x: Tensor, y: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch augmented; y becomes (n, classes) float32 shares where rows are mixed."""
        random = np.random.default_rng(derive_seed(self.seed, "augment", epoch, step))
        for flip in self.flips:
            coin = torch.from_numpy(random.random(len(x)) < 0.5).to(x.device)
            x = torch.where(coin.view(-1, 1, 1, 1), flip(x), x)
        if self.augmentation.shift:
            x = self._shifted(x, random)
        if self.augmentation.mixup or self.augmentation.cutmix:
            x, y = self._mixed(x, y, random)
        if self.noise:
            x = self._noisy(x, epoch, step)
        return x, y

    def _shifted(self, x: Tensor, random: np.random.Generator) -> Tensor:
        most = self.augmentation.shift
        down, right = (
            random.integers(-most, most, (2, len(x)), endpoint=True) * np.array(self.spectral_input.block)[:, None]
        )
        return shifted(x, torch.from_numpy(down), torch.from_numpy(right))

    def _mixed(self, x: Tensor, y: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        wanted = self.augmentation
        cuts = random.random() < 0.5 if wanted.mixup and wanted.cutmix else bool(wanted.cutmix)
        alpha = wanted.cutmix if cuts else wanted.mixup
        share = float(random.beta(alpha, alpha))
        partner = torch.from_numpy(random.permutation(len(x))).to(x.device)
        if cuts:
            x, share = pasted(x, partner, share, random, self.spectral_input.block)
        else:
            x = x.lerp(x[partner], share)
        classes = functional.one_hot(y, self.spectral_input.classes).float()
        return x, classes.lerp(classes[partner], share)

    def _noisy(self, x: Tensor, epoch: int, step: int) -> Tensor:
        generator = torch.Generator(x.device).manual_seed(derive_seed(self.seed, "noise", epoch, step))
        return x.add_(torch.randn(x.shape, generator=generator, device=x.device), alpha=self.noise)


def shifted(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return each row moved by its own whole pixels, `down` and `right` (n,), with 0 where nothing was.

    >>> shifted(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([0]), torch.tensor([1])).tolist()
    [[[[0.0, 1.0]]]]
    """
    n, channels, h, w = x.shape
    border = int(max(down.abs().max(), right.abs().max()))
    padded = functional.pad(x, (border, border, border, border))
    from_row = (border + torch.arange(h) - down[:, None]).to(x.device)
    from_column = (border + torch.arange(w) - right[:, None]).to(x.device)
    row, channel = (torch.arange(count, device=x.device) for count in (n, channels))
    return padded[
        row.view(-1, 1, 1, 1), channel.view(1, -1, 1, 1), from_row.view(n, 1, h, 1), from_column.view(n, 1, 1, w)
    ]


def pasted(
    x: Tensor, partner: Tensor, share: float, random: np.random.Generator, block: tuple[int, int] = (1, 1)
) -> tuple[Tensor, float]:
    """Return the rows with a box of their partners pasted in, of about this share of the map, and its exact share.

    The box has whole blocks and a random place; what would lie outside is cut off (Yun et al. 2019, eq. (2)).
    """
    bounds = []
    for side, unit in zip(x.shape[-2:], block, strict=True):
        units = side // unit
        half = math.sqrt(share) * units / 2
        centre = random.uniform(0, units)
        bounds.append(slice(unit * round(max(0, centre - half)), unit * round(min(units, centre + half))))
    rows, columns = bounds
    changed = x.clone()
    changed[:, :, rows, columns] = x[partner][:, :, rows, columns]
    return changed, (rows.stop - rows.start) * (columns.stop - columns.start) / math.prod(x.shape[-2:])


def require_blocks(spec: SpectralSpec, name: str, instead: str) -> None:
    """Raise `InputError` where moving pixels is not moving spectral pixels; what to do `instead` goes into it."""
    if spec.layout == "tiles" and spec.q > 1:
        raise InputError(
            f"{name} is not exact on spectrals of layout tiles: each holds pixels from all over the image",
            expected="layout blocks",
            got=f"{spec.q1}x{spec.q2} tiles",
            run=f"spectral-prep convert --layout blocks, or {instead}",
        )


def partners(spec: SpectralSpec, own: Sequence[int], axis: int) -> set[int]:
    """Return the spectrals of which those of the image mirrored along `axis` are made."""
    matrix_QQ = basis(spec) @ _reversal(spec, axis) @ basis(spec).T
    return set(np.flatnonzero((np.abs(matrix_QQ[list(own)]) > NEGLIGIBLE).any(0)).tolist())


def _reversal(spec: SpectralSpec, axis: int) -> npt.NDArray[np.float64]:
    """Return the (Q, Q) permutation that mirroring an image does to the places of a cell."""
    rows, columns = np.eye(spec.q1), np.eye(spec.q2)
    reversed_QQ = np.kron(rows[::-1], columns) if axis == -2 else np.kron(rows, columns[::-1])
    return reversed_QQ.astype(np.float64)


def _require_partners(matrix_QQ: npt.NDArray[np.float64], own: list[int], spec: SpectralSpec, axis: int) -> None:
    """Refuse a flip that needs spectrals which the shard does not hold."""
    needed = {k: set(np.flatnonzero(np.abs(matrix_QQ[k]) > NEGLIGIBLE).tolist()) for k in own}
    for k, partners in needed.items():
        if missing := sorted(partners - set(own)):
            raise InputError(
                f"{'flip' if axis == -1 else 'vflip'} is not exact here: with {spec.transform} the flipped image's "
                f"spectral {k} needs other spectrals than this shard holds",
                expected=f"a shard with spectral {', '.join(map(str, missing))}, or the transform dct2",
                got=f"spectral {', '.join(map(str, own))}",
                run="spectral-prep convert --transform dct2, or the same command without it in --augment",
            )
