"""Augmented spectrals are the spectrals of augmented images, or the augmentation is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec, merge, split
from spectral_train.data.augment import Augmenter, Flip, SpectralInput
from spectral_train.recipe.augmentation import Augmentation

ROWS, COLOURS, SIZE = 24, 3, 24
ALL_4 = (0, 1, 2, 3)
AXES = {"flip": (-1, 2), "vflip": (-2, 1)}  # of maps (n, C, h, w) and of images (n, H, W, C)


@dataclass(frozen=True)
class Net:
    """One network's input: its images, their standardised spectrals, and statistics with means far from 0."""

    spectral_input: SpectralInput
    images: Tensor

    @classmethod
    def of(cls, spec: SpectralSpec, spectrals: tuple[int, ...] = (0,)) -> "Net":
        random = np.random.default_rng(0)
        count = len(spectrals) * COLOURS
        spectral_input = SpectralInput(
            spec, spectrals, tuple(random.normal(40, 30, count)), tuple(random.uniform(1, 9, count)), ROWS
        )
        return cls(spectral_input, torch.from_numpy(random.uniform(0, 255, (ROWS, SIZE, SIZE, COLOURS))))

    def seen(self, images: Tensor) -> Tensor:
        """What the network sees of images, float32."""
        own = split(images, self.spectral_input.spec)[list(self.spectral_input.spectrals)]
        mean, std = (
            torch.tensor(each, dtype=torch.float64).view(-1, 1, 1)
            for each in (self.spectral_input.mean, self.spectral_input.std)
        )
        return ((own.transpose(0, 1).flatten(1, 2) - mean) / std).float()

    def augmented(self, wanted: str, epoch: int = 0, seed: int = 0, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        augmenter = Augmenter.of(Augmentation.parse(wanted), self.spectral_input, noise, seed)
        return augmenter(self.seen(self.images), torch.arange(ROWS), epoch, 7)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def specs(*transforms: str) -> list[SpectralSpec]:
    return [SpectralSpec(2, 2, layout, name) for layout in ("blocks", "tiles") for name in transforms]  # type: ignore[arg-type]


EXACT = [
    *[("flip vflip", spec, members) for spec in specs("dct2") for members in [(0,), (1,), (2,), (3,), (3, 0, 1)]],
    *[("flip", spec, members) for spec in specs("none") for members in [(0, 1), (3, 2), ALL_4]],
    *[("vflip", spec, members) for spec in specs("none") for members in [(0, 2), (3, 1), ALL_4]],
    *[("flip vflip", spec, ALL_4) for spec in specs("dct")],
    *[("flip vflip", SpectralSpec(1, 6, layout), (k,)) for layout in ("blocks", "tiles") for k in (0, 3)],
    ("flip vflip", SpectralSpec(4, 2, transform="dct2"), (5, 6)),
]
REFUSED = [
    *[(name, spec, members, "dct2") for name in AXES for spec in specs("dct") for members in [(1,), (0, 1, 2)]],
    *[("flip", spec, (0, 2), "spectral 1") for spec in specs("none")],
    *[("vflip", spec, (0, 1), "spectral 2") for spec in specs("none")],
    *[(name, spec, (0,), "blocks") for name in ("shift", "cutmix") for spec in specs("dct")[1:]],
]


@pytest.mark.parametrize(("names", "spec", "members"), EXACT, ids=str)
def test_a_flipped_spectral_is_that_of_the_flipped_image(
    names: str, spec: SpectralSpec, members: tuple[int, ...]
) -> None:
    net = Net.of(spec, members)
    for name in names.split():
        axis, image_axis = AXES[name]
        mirrored = net.seen(net.images.flip(image_axis))
        close(Flip.of(net.spectral_input, axis)(net.seen(net.images)), mirrored)
        x, _ = net.augmented(name)
        same = [(x[row] - net.seen(net.images)[row]).abs().max() < 1e-4 for row in range(ROWS)]
        assert 0 < sum(same) < ROWS
        close(x, torch.where(torch.tensor(same).view(-1, 1, 1, 1), net.seen(net.images), mirrored))


@pytest.mark.parametrize(("name", "spec", "members", "reason"), REFUSED, ids=str)
def test_what_would_not_be_exact_is_refused_with_a_reason(
    name: str, spec: SpectralSpec, members: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(InputError, match=f"^{name} is not exact.*{reason}"):
        Net.of(spec, members).augmented(name)


@pytest.mark.parametrize("transform", ["dct", "dct2", "none"])
def test_a_shifted_spectral_is_that_of_the_shifted_image_continued_by_the_mean_block(transform: str) -> None:
    net = Net.of(SpectralSpec(2, 3, transform=transform), (0, 1, 2, 3, 4, 5))  # type: ignore[arg-type]
    x, _ = net.augmented("shift=2")
    mean_Qnhw = torch.tensor(net.spectral_input.mean, dtype=torch.float64).view(6, 1, COLOURS, 1, 1)
    canvas = merge(mean_Qnhw.expand(6, ROWS, COLOURS, 12 + 4, 8 + 4), net.spectral_input.spec, torch.float64)
    canvas[:, 4 : 4 + SIZE, 6 : 6 + SIZE] = net.images
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    all_moves = torch.stack(
        [net.seen(canvas[:, 4 - 2 * down :, 6 - 3 * right :][:, :SIZE, :SIZE]) for down, right in moves]
    )
    distance = (all_moves - x).abs().amax((2, 3, 4))
    assert distance.min(0).values.max() < 1e-4
    assert len(set(distance.argmin(0).tolist())) > 10


def shares(y: Tensor) -> tuple[Tensor, float]:
    """Return each row's partner and the partner's share, from labels that are row numbers."""
    own = y.diagonal()
    partner = torch.where(own > 1 - 1e-6, torch.arange(ROWS), (y - torch.diag(own)).argmax(1))
    close(y, torch.eye(ROWS).lerp(torch.eye(ROWS)[partner], 1 - own.min().item()))
    return partner, 1 - own.min().item()


@pytest.mark.parametrize("spec", specs("dct", "dct2"), ids=str)
def test_mixed_spectrals_are_those_of_the_mixed_images(spec: SpectralSpec) -> None:
    net = Net.of(spec, (1,))
    x, y = net.augmented("mixup=1")
    partner, share = shares(y)
    assert 0.01 < share < 0.99
    close(x, net.seen(net.images.lerp(net.images[partner], share)))


@pytest.mark.parametrize("epoch", range(4))
def test_a_pasted_box_is_whole_blocks_of_the_partners_image(epoch: int) -> None:
    net = Net.of(SpectralSpec(2, 3), (0, 4))
    x, y = net.augmented("cutmix", epoch)
    partner, share = shares(y)
    box_hw = ((x - net.seen(net.images)).abs() > 1e-4).any(1)[partner != torch.arange(ROWS)].any(0)
    assert box_hw.float().mean().item() == pytest.approx(share)
    assert 0 < share < 1
    mask_HW = box_hw.repeat_interleave(2, 0).repeat_interleave(3, 1)
    close(x, net.seen(torch.where(mask_HW[None, :, :, None], net.images[partner], net.images)))


def test_the_conventional_network_sees_the_same_moves_in_pixels() -> None:
    net = Net.of(SpectralSpec(1, 1))
    x, _ = replace(net, spectral_input=replace(net.spectral_input, block=(4, 4))).augmented("shift")
    plain = functional.pad(net.seen(net.images), (4, 4, 4, 4))
    moves = [plain[:, :, down : down + SIZE, right : right + SIZE] for down in (0, 4, 8) for right in (0, 4, 8)]
    distance = (torch.stack(moves) - x).abs().amax((2, 3, 4)).min(0).values
    assert distance.max() == 0


@pytest.mark.parametrize("wanted", ["flip", "vflip", "shift=3", "mixup", "cutmix", "flip,shift,mixup,cutmix", ""])
def test_a_batch_is_a_pure_function_of_seed_epoch_and_step(wanted: str) -> None:
    net = Net.of(SpectralSpec(2, 2, transform="dct2"))
    noise = 0.0 if wanted else 0.5
    one, again, other_epoch, other_seed = (
        net.augmented(wanted, *key, noise) for key in [(0, 0), (0, 0), (1, 0), (0, 1)]
    )
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one[0], other_epoch[0])
    assert not torch.equal(one[0], other_seed[0])


def test_noise_has_its_deviation() -> None:
    net = Net.of(SpectralSpec(2, 2))
    x, y = net.augmented("", noise=0.5)
    assert (x - net.seen(net.images)).std().item() == pytest.approx(0.5, rel=0.05)
    assert y.tolist() == list(range(ROWS))


@pytest.mark.parametrize("wrong", ["flop", "flip=2", "shift=1.5", "shift=0", "mixup=-1", "flip shift"])
def test_what_is_no_augmentation_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="augmentation"):
        Augmentation.parse(wrong)
