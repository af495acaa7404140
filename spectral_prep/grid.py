"""Which spectrals an image has: the grid, the order of its places and the transform along them, as numbers alone.

Input: what the user typed. Output: a `SpectralSpec`, and the matrix of its transform. torch is not imported here, so
that whoever only reads or writes records starts at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from spectral_prep.choices import Layout, Transform
from spectral_prep.errors import InputError

MAX_Q = 256


@dataclass(frozen=True)
class SpectralSpec:
    """How one image becomes Q = q1·q2 spectrals (long paper, section 3.2, "Split the dataset").

    Parameters
    ----------
    q1, q2
        Rows and columns of the grid, 1 ≤ q1·q2 ≤ 256; q1 divides the image height and q2 its width.
    layout
        `blocks`: each q1×q2 pixel neighbourhood becomes the Q axis (pixel-unshuffle), index i·q2 + j.
        `tiles`: the image is cut into q1×q2 large tiles, index = tile, row by row.
    transform
        `dct`: orthonormal DCT-II of length Q along that axis (the papers). `dct2`: separable q1×q2 DCT-II,
        k = u·q2 + v. `none`: no transform, the ablation.

    Raises
    ------
    InputError
        If a number or a name is not one of these.

    >>> SpectralSpec(4, 4).q
    16
    """

    q1: int
    q2: int
    layout: Layout = "blocks"
    transform: Transform = "dct"

    def __post_init__(self) -> None:
        if self.q1 < 1 or self.q2 < 1 or self.q > MAX_Q:
            raise InputError("unusable grid", expected=f"1 ≤ q1·q2 ≤ {MAX_Q}", got=f"{self.q1}x{self.q2}")
        for name, value, known in (
            ("layout", self.layout, get_args(Layout)),
            ("transform", self.transform, get_args(Transform)),
        ):
            if value not in known:
                raise InputError(f"unknown {name}", expected=f"one of {', '.join(known)}", got=value)

    @property
    def q(self) -> int:
        """Number of spectrals, Q."""
        return self.q1 * self.q2

    def spectral_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (h, w) for an image of (H, W); raise `InputError`, listing what divides, if this grid does not."""
        if height % self.q1 or width % self.q2:
            raise InputError(
                f"{self.q1}x{self.q2} does not divide a {height}x{width} image",
                expected=f"q1 of {_divisors(height)} and q2 of {_divisors(width)}",
                run=f"the same command with --q {_nearest_q(self.q, height, width)}",
            )
        return height // self.q1, width // self.q2


def parse_q(text: str, height: int, width: int) -> tuple[int, int]:
    """Return (q1, q2) for the `--q` a user typed, on images of height × width.

    A pair is taken as written. A perfect square is a square grid when it divides both sides; otherwise a Q equal to the
    width is 1×Q, the long paper's Q = 28 and 32 (one spectral is then one vector over image rows).

    Raises
    ------
    InputError
        If it is not a number or a pair, or does not divide the image; the message lists what would.

    >>> parse_q("16", 224, 224), parse_q("28", 28, 28), parse_q("2x4", 32, 32)
    ((4, 4), (1, 28), (2, 4))
    """
    pair = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text.strip())
    if pair is None:
        raise InputError("--q is not a number or a pair", expected="for example 16 or 2x4", got=repr(text))
    if pair[2] is not None:
        spec = SpectralSpec(int(pair[1]), int(pair[2]))
        spec.spectral_size(height, width)
        return spec.q1, spec.q2
    q = int(pair[1])
    root = round(q**0.5)
    if q > 0 and root * root == q and height % root == 0 and width % root == 0:
        SpectralSpec(root, root)
        return root, root
    if 0 < q == width:
        SpectralSpec(1, q)
        return 1, q
    raise InputError(
        f"--q {q} does not divide a {height}x{width} image",
        expected=f"a square of one of {_divisors(np.gcd(height, width).item())}, the width {width}, "
        f"or a pair q1xq2 with q1 of {_divisors(height)} and q2 of {_divisors(width)}",
        run=f"the same command with --q {_nearest_q(q, height, width)}",
    )


def basis(spec: SpectralSpec) -> npt.NDArray[np.float64]:
    """Return the orthonormal (Q, Q) matrix of the transform: coefficients = basis @ pixels; inverse = transpose.

    >>> bool(np.allclose(basis(SpectralSpec(2, 2))[0], 0.5))
    True
    """
    if spec.transform == "none":
        return np.eye(spec.q)
    if spec.transform == "dct":
        return _dct_matrix(spec.q)
    return np.kron(_dct_matrix(spec.q1), _dct_matrix(spec.q2)).astype(np.float64)


def _dct_matrix(length: int) -> npt.NDArray[np.float64]:
    import scipy.fft  # slow to import, and records need no matrix

    return scipy.fft.dct(np.eye(length), axis=0, norm="ortho").astype(np.float64)


def _divisors(number: int) -> str:
    found = [d for d in range(1, min(number, MAX_Q) + 1) if number % d == 0]
    return "{" + ", ".join(map(str, found)) + "}"


def _nearest_q(q: int, height: int, width: int) -> str:
    grids = [
        (q1, q2)
        for q1 in range(1, MAX_Q + 1)
        for q2 in range(1, MAX_Q // q1 + 1)
        if height % q1 == 0 and width % q2 == 0
    ]
    q1, q2 = min(grids, key=lambda grid: (abs(grid[0] * grid[1] - q), abs(grid[0] - grid[1]), grid))
    return f"{q1}x{q2}"
