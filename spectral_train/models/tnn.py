"""The tensor neural network that the long paper compares with (its [51]: Newman et al., arXiv 1811.06569).

An image is one lateral slice, a matrix of tubes: its rows (of all channels) are the ℓ₀ tubes and its columns their
length n. A layer is A ← σ(W ∗ A + B) with a tensor W (ℓ × ℓ × n) and the M-product ∗ (Kernfeld et al. 2015): transform
along the tubes, multiply face by face, transform back. M is the orthonormal DCT (long paper, 4.2). W and B are kept
transformed, which is all that a layer needs of them.

The last layer has one tube a class. Newman et al. put a softmax on every face of the transformed tubes; here the n
faces' distributions are combined by their normalised geometric mean, which is the softmax of the mean over the faces:
so the network gives logits, as every other does, and every face learns.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.fft
import torch
from torch import Tensor, nn

from spectral_prep.errors import InputError


def tnn(input_shape: tuple[int, int, int], classes: int, *, depth: int, width: int) -> TensorNetwork:
    """Return `depth` tensor layers, the output layer included, with ReLU between them and `width` hidden slices.

    At (1, 28, 28) with depth 8 and width 28 it is the long paper's: seven tensors of 28×28×28 and one of 10×28×28.

    Raises
    ------
    InputError
        If depth or width is less than 1.

    >>> [tuple(layer.weight.shape) for layer in tnn((1, 28, 28), 10, depth=3, width=28).layers]
    [(28, 28, 28), (28, 28, 28), (28, 10, 28)]
    """
    if depth < 1 or width < 1:
        raise InputError("unusable tnn network", expected="depth ≥ 1 and width ≥ 1", got=f"{depth} and {width}")
    channels, height, tube = input_shape
    return TensorNetwork([channels * height, *[width] * (depth - 1), classes], tube)


class TensorNetwork(nn.Module):
    """(N, C, h, n) → (N, classes); `sizes` are ℓ₀ = C·h to the classes, `tube` is n."""

    transform: Tensor

    def __init__(self, sizes: list[int], tube: int) -> None:
        super().__init__()
        matrix = scipy.fft.dct(np.eye(tube), axis=0, norm="ortho")
        self.register_buffer("transform", torch.tensor(matrix, dtype=torch.float32), persistent=False)
        self.layers = nn.ModuleList(
            FaceLinear(inputs, outputs, tube, gain=1.0 if last else math.sqrt(2))
            for last, (inputs, outputs) in zip(
                [*[False] * (len(sizes) - 2), True], itertools.pairwise(sizes), strict=True
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        slices = images.flatten(1, 2).permute(2, 0, 1)
        *hidden, last = self.layers
        for layer in hidden:
            slices = torch.relu(self._along_tubes(self.transform.T, layer(self._along_tubes(self.transform, slices))))
        logits: Tensor = last(self._along_tubes(self.transform, slices)).mean(0)
        return logits

    @staticmethod
    def _along_tubes(matrix: Tensor, slices_nNl: Tensor) -> Tensor:
        return (matrix @ slices_nNl.flatten(1)).view(slices_nNl.shape)


class FaceLinear(nn.Module):
    """(n, N, inputs) → (n, N, outputs): a linear layer of its own for each of n faces; weights start orthogonal."""

    def __init__(self, inputs: int, outputs: int, faces: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(faces, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(faces, 1, outputs))
        for face in self.weight:
            nn.init.orthogonal_(face, gain)

    def forward(self, slices_nNl: Tensor) -> Tensor:
        """Return the products, face by face."""
        return torch.baddbmm(self.bias, slices_nNl, self.weight.transpose(1, 2))
