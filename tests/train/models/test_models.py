from collections.abc import Callable

import pytest
import scipy.fft
import timm
import torch
import torchvision  # type: ignore[import-untyped]
from torch import nn

from spectral_prep.errors import InputError
from spectral_train.models import (
    MODELS,
    Options,
    branch_options,
    build,
    choose_model,
    full_options,
    parameter_count,
    size_in_bytes,
)
from spectral_train.models.cyclemlp import cycled
from spectral_train.models.maps import AdaptiveAverage
from spectral_train.models.tnn import FaceLinear

SHAPES = [(1, 7, 7), (3, 8, 8), (3, 16, 16), (3, 32, 32), (12, 56, 56), (1, 28, 1), (3, 1, 32), (1, 4, 4)]
SMALL = {
    "fc": 49,
    "conv": 8,
    "tnn": 8,
    "alexnet": 0.05,
    "vgg16": 0.05,
    "resnet34": 0.1,
    "cyclemlp": 0.1,
    "mobilevit": 0.2,
}
IMAGE_MODELS = [name for name, model in MODELS.items() if "last_map" in model.branch]
MB, MIB = 10**6, 2**20
TABLE_3 = {
    "alexnet": (244, 32, MB),
    "vgg16": (527, 112, MIB),
    "resnet34": (83, 15, MIB),
    "cyclemlp": (103, 22, MIB),
    "mobilevit": (9, 2, MIB),
}
"""Long paper: size of the conventional network, size of a branch, and the unit that makes both of them true."""


def without_weights(name: str, shape: tuple[int, int, int], options: Options, classes: int = 1000) -> nn.Module:
    with torch.device("meta"):
        return build(name, shape, classes, **options)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_network_takes_every_shape_and_learns_in_all_its_parameters(
    name: str, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    model = build(name, shape, 10, width=SMALL[name])
    logits = model(torch.randn(2, *shape))
    assert logits.shape == (2, 10)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model(torch.randn(1, *shape)).shape == (1, 10)


@pytest.mark.parametrize("name", [*MODELS, "timm:test_resnet", "timm:test_vit"])
def test_a_network_without_weights_can_be_asked_for_its_cost(name: str) -> None:
    logits = without_weights(name, (3, 16, 16), {}, 10)(torch.empty(2, 3, 16, 16, device="meta"))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("name", TABLE_3)
def test_branches_and_full_networks_have_the_sizes_of_the_long_papers_table_3(name: str) -> None:
    full, branch, unit = TABLE_3[name]
    conventional = without_weights(name, (3, 224, 224), full_options(name, {}, 16))
    assert size_in_bytes(conventional) == pytest.approx(full * unit, rel=0.02)
    for shape in ((12, 56, 56), (3, 112, 112)):
        assert size_in_bytes(without_weights(name, shape, {})) == pytest.approx(branch * unit, rel=0.05)


def layers(model: nn.Module) -> list[str]:
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm, nn.Dropout)
    return [repr(layer) for layer in model.modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("alexnet", {}, torchvision.models.alexnet),
        ("vgg16", {}, torchvision.models.vgg16_bn),
        ("vgg16", {"batch_norm": 0}, torchvision.models.vgg16),
        ("resnet34", {}, lambda: timm.create_model("resnet34")),
        ("mobilevit", {}, lambda: timm.create_model("mobilevit_xs")),
    ],
)
def test_the_full_networks_are_the_published_ones(
    name: str, options: Options, published: Callable[[], nn.Module]
) -> None:
    with torch.device("meta"):
        expected = published()
    ours = without_weights(name, (3, 224, 224), full_options(name, options, 4))
    assert layers(ours) == layers(expected)
    assert [tuple(each.shape) for each in ours.parameters()] == [tuple(each.shape) for each in expected.parameters()]


@pytest.mark.parametrize("name", ["alexnet", "resnet34"])
def test_the_full_networks_compute_what_the_published_ones_do(name: str) -> None:
    torch.manual_seed(0)
    expected = (torchvision.models.alexnet() if name == "alexnet" else timm.create_model("resnet34")).eval()
    ours = build(name, (3, 224, 224), 1000, **full_options(name, {}, 4)).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), expected.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(ours(images), expected(images))


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize(("side", "expected"), [(7, 4), (16, 4), (32, 4), (56, 4), (112, 4), (224, 7)])
def test_small_maps_are_halved_until_four_pixels_are_left(name: str, side: int, expected: int) -> None:
    sides = []
    model = without_weights(name, (3, side, side), {"width": SMALL[name]}, 10)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _, __, maps: sides.append(maps.shape[-1]))
    model(torch.empty(2, 3, side, side, device="meta"))
    assert expected - 1 <= sides[-1] <= expected  # AlexNet's unpadded poolings lose a pixel


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 32, 32), (3, 33, 65), (1, 7, 7), (1, 2, 2), (1, 2, 1)], ids=str)
def test_every_halving_can_be_kept(name: str, shape: tuple[int, int, int]) -> None:
    model = build(name, shape, 10, width=SMALL[name], last_map=1)
    assert model(torch.randn(2, *shape)).shape == (2, 10)


def test_last_map_keeps_more_or_fewer_halvings() -> None:
    for last_map, stride in ((1, 2), (4, 1), (32, 1)):
        assert build("resnet34", (3, 32, 32), 10, width=0.1, last_map=last_map).conv1.stride == (stride, stride)


def test_fc_is_the_posters_network_for_mnist() -> None:
    model = build("fc", (1, 7, 7), 10)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(49, 49)] * 7 + [(49, 10)]
    assert sum(isinstance(layer, nn.ReLU) for layer in model.modules()) == 7
    assert parameter_count(model) == 7 * (49 * 49 + 49) + 490 + 10
    assert size_in_bytes(model) == 4 * parameter_count(model)


def test_conv_is_the_papers_network_for_cifar10() -> None:
    model = build("conv", (3, 16, 16), 10)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32] * 3 + [64] * 3 + [128] * 4
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) == 10
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.modules()) == 2
    eight = build("conv", (3, 16, 16), 10, depth=8)
    assert sum(isinstance(layer, nn.Conv2d) for layer in eight.modules()) == 8


def test_conv_pools_only_sides_of_at_least_four() -> None:
    windows = [
        [layer.kernel_size for layer in build("conv", shape, 10).modules() if isinstance(layer, nn.MaxPool2d)]
        for shape in ((1, 7, 7), (1, 28, 1), (1, 4, 3), (1, 2, 2))
    ]
    assert windows == [[(2, 2)], [(2, 1), (2, 1)], [(2, 1)], []]


@pytest.mark.parametrize(("full_stages", "sides"), [(1, [16, 8, 4]), (2, [16, 16, 8]), (3, [16, 16, 16])])
def test_conv_halves_maps_only_behind_its_full_stages(full_stages: int, sides: list[int]) -> None:
    model, maps = build("conv", (3, 16, 16), 10, depth=3, full_stages=full_stages), torch.rand(2, 3, 16, 16)
    seen = []
    for layer in model:  # type: ignore[attr-defined]
        maps = layer(maps)
        if isinstance(layer, nn.Conv2d):
            seen.append(maps.shape[-1])
    assert seen == sides
    assert parameter_count(model) == parameter_count(build("conv", (3, 16, 16), 10, depth=3))


def tensor_layers(model: nn.Module) -> list[FaceLinear]:
    return [layer for layer in model.modules() if isinstance(layer, FaceLinear)]


def test_a_tensor_layer_is_the_m_product_with_the_dct() -> None:
    """Newman et al.: transform along the tubes, multiply face by face, transform back; here with numpy's own loops."""
    torch.manual_seed(0)
    model = build("tnn", (1, 5, 6), 3, depth=2, width=4).double()
    image = torch.randn(1, 1, 5, 6, dtype=torch.float64)
    hidden, last = ((layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in tensor_layers(model))
    tubes = scipy.fft.dct(image[0, 0].numpy(), axis=1, norm="ortho")
    faces = [weight @ tubes[:, k] + bias[0] for k, (weight, bias) in enumerate(zip(*hidden, strict=True))]
    activation = scipy.fft.idct(faces, axis=0, norm="ortho").clip(0)
    tubes = scipy.fft.dct(activation, axis=0, norm="ortho")
    faces = [weight @ tubes[k] + bias[0] for k, (weight, bias) in enumerate(zip(*last, strict=True))]
    expected = torch.tensor(sum(faces) / 6)[None]
    torch.testing.assert_close(model(image), expected, rtol=1e-5, atol=1e-6)


def test_tnn_is_the_long_papers_network() -> None:
    shapes = [tuple(layer.weight.shape) for layer in tensor_layers(build("tnn", (1, 28, 28), 10))]
    assert shapes == [(28, 28, 28)] * 7 + [(28, 10, 28)]


@pytest.mark.parametrize("kernel", [(1, 3), (3, 1)])
def test_a_cycle_fc_layer_is_the_published_deformable_convolution(kernel: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps, linear = torch.randn(2, 7, 5, 6), nn.Linear(7, 4)
    side = kernel.index(3)  # of (h, w)
    offset = torch.zeros(2, 14, 5, 6)
    for channel in range(7):
        offset[:, 2 * channel + side] = (channel + 1) % 3 - 1
    expected = torchvision.ops.deform_conv2d(maps, offset, linear.weight[:, :, None, None], linear.bias)
    ours = linear(cycled(maps.permute(0, 2, 3, 1), 1 + side)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("sides", [(4, 4), (6, 6), (13, 7), (1, 28)])
def test_averaging_to_a_grid_is_torchs_adaptive_pooling(sides: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *sides)
    torch.testing.assert_close(AdaptiveAverage(6)(maps), nn.AdaptiveAvgPool2d(6)(maps))


def test_width_scales_a_network_in_both_forms() -> None:
    assert parameter_count(build("resnet34", (3, 8, 8), 10, width=0.1)) < parameter_count(
        build("resnet34", (3, 8, 8), 10, width=0.2)
    )
    assert full_options("resnet34", {"width": 0.21}, 4)["width"] == 0.5
    assert full_options("fc", {"width": 28}, 28) == {"depth": 8, "width": 784}
    assert full_options("alexnet", {"grid": 1}, 4) == {"width": 1.0, "last_map": 4, "grid": 1}
    assert branch_options("conv", {"width": 8.0}) == {"depth": 10, "width": 8, "full_stages": 1}


def test_auto_is_fc_for_small_maps_and_conv_for_others() -> None:
    chosen = [choose_model("auto", shape) for shape in ((1, 7, 7), (3, 8, 8), (1, 28, 1))]
    assert chosen == ["fc", "conv", "fc"]
    assert choose_model("conv", (1, 7, 7)) == "conv"


@pytest.mark.parametrize(("name", "shape"), [("timm:test_resnet", (12, 16, 16)), ("timm:test_vit", (3, 32, 32))])
def test_any_network_of_timm_by_its_name(name: str, shape: tuple[int, int, int]) -> None:
    logits = build(name, shape, 7)(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    logits.sum().backward()


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_a_map_of_one_pixel_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="one pixel"):
        build(name, (16, 1, 1), 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {}, "one of resnet34"),
        ("fc", {"dropout": 1}, "no such option"),
        ("fc", {"width": 0.5}, "a whole number"),
        ("fc", {"width": float("inf")}, "a whole number"),
        ("fc", {"width": 0}, "width ≥ 1"),
        ("tnn", {"depth": 0}, "depth ≥ 1"),
        ("conv", {"depth": 2}, "depth ≥ 3"),
        ("conv", {"full_stages": 4}, "unusable full_stages"),
        ("vgg16", {"width": 0}, "more than 0"),
        ("vgg16", {"grid": 0}, "unusable grid"),
        ("vgg16", {"batch_norm": 2}, "unusable batch_norm"),
        ("resnet34", {"last_map": 0}, "unusable last_map"),
        ("timm:resnet34", {"width": 1}, "no such option"),
        ("timm:resnet43", {}, "timm:resnet34"),
        ("timm:vgg16", {}, "cannot take these maps"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, (3, 8, 8), 10, **options)
