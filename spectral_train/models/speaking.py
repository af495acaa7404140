"""A network with what the ensemble takes of it: log-probabilities, and if wanted the features that they come from.

Input: a network of `MODELS` or timm, ready for use. Output: a module from (N, C, h, w) to (N, classes), or to
(N, classes + F) with the F inputs of the last linear layer behind the log-probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectral_prep.errors import InputError
from spectral_train.models import InputShape

TRIED_ROWS = 2


class LogProbabilities(nn.Module):
    """(N, C, h, w) → (N, classes) log-probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return them."""
        return functional.log_softmax(self.network(x).float(), 1)


class WithFeatures(nn.Module):
    """(N, C, h, w) → (N, classes + F): log-probabilities, then the inputs of the last linear layer.

    The network loses that layer to this module.

    Raises
    ------
    InputError
        If the network's logits are not what its last linear layer makes of its other layers, as those of `tnn` are not.

    >>> from spectral_train.models import build
    >>> WithFeatures(build("fc", (1, 7, 7), 10, depth=2, width=49), (1, 7, 7))(torch.zeros(5, 1, 7, 7)).shape
    torch.Size([5, 59])
    """

    def __init__(self, network: nn.Module, input_shape: InputShape) -> None:
        super().__init__()
        tried = torch.rand(TRIED_ROWS, *input_shape, generator=torch.Generator().manual_seed(0))
        network.eval()
        with torch.no_grad():
            expected = network(tried)
            linear = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
            if not linear:
                raise _featureless()
            name, self.last = linear[-1]
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, nn.Identity())
            self.network = network
            features = network(tried)
            fits = features.ndim == 2 and features.shape[1] == self.last.in_features
            if not fits or not torch.equal(self.last(features), expected):
                raise _featureless()

    def forward(self, x: Tensor) -> Tensor:
        """Return both."""
        features = self.network(x)
        return torch.cat([functional.log_softmax(self.last(features).float(), 1), features.float()], 1)


def _featureless() -> InputError:
    return InputError(
        "this network has no features that its last layer makes logits of",
        expected="a network whose last layer is linear",
        run="the same command with logits in the place of features",
    )
