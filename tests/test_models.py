import pytest
import torch
from torch import nn

from spectral_prep.errors import InputError
from spectral_train.models import MODELS, build, choose_model, parameter_count, size_in_bytes

SHAPES = [(1, 7, 7), (3, 8, 8), (3, 16, 16), (3, 32, 32), (12, 56, 56), (1, 28, 1), (3, 1, 32), (1, 4, 4)]


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_network_takes_every_shape_and_learns_in_all_its_parameters(
    name: str, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    model = build(name, shape, 10)
    logits = model(torch.randn(4, *shape))
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fc_is_the_posters_network_for_mnist() -> None:
    model = build("fc", (1, 7, 7), 10)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(49, 49)] * 7 + [(49, 10)]
    assert sum(isinstance(layer, nn.ReLU) for layer in model.modules()) == 7
    assert parameter_count(model) == 7 * (49 * 49 + 49) + 490 + 10
    assert size_in_bytes(model) == 4 * parameter_count(model)


def test_conv_is_the_posters_network_for_cifar10() -> None:
    model = build("conv", (3, 16, 16), 10)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32] * 3 + [64] * 3 + [128] * 4
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) == 10
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.modules()) == 2


def test_conv_pools_only_sides_of_at_least_four() -> None:
    windows = [
        [layer.kernel_size for layer in build("conv", shape, 10).modules() if isinstance(layer, nn.MaxPool2d)]
        for shape in ((1, 7, 7), (1, 28, 1), (1, 4, 3), (1, 2, 2))
    ]
    assert windows == [[(2, 2)], [(2, 1), (2, 1)], [(2, 1)], []]


def test_width_and_depth_scale_a_network() -> None:
    assert parameter_count(build("conv", (3, 8, 8), 10, width=8, depth=4)) < parameter_count(
        build("conv", (3, 8, 8), 10)
    )
    assert sum(isinstance(layer, nn.Conv2d) for layer in build("conv", (3, 8, 8), 10, depth=7).modules()) == 7
    assert sum(isinstance(layer, nn.Linear) for layer in build("fc", (3, 8, 8), 10, depth=1).modules()) == 1


def test_auto_is_fc_for_small_maps_and_conv_for_others() -> None:
    chosen = [choose_model("auto", shape) for shape in ((1, 7, 7), (3, 8, 8), (1, 28, 1))]
    assert chosen == ["fc", "conv", "fc"]
    assert choose_model("conv", (1, 7, 7)) == "conv"


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(InputError, match="one of fc, conv"):
        build("resnet", (3, 8, 8), 10)
    with pytest.raises(InputError, match="no such option"):
        build("fc", (3, 8, 8), 10, dropout=1)
    with pytest.raises(InputError, match="depth ≥ 3"):
        build("conv", (3, 8, 8), 10, depth=2)
    with pytest.raises(InputError, match="width ≥ 1"):
        build("fc", (3, 8, 8), 10, width=0)
