"""int8 is calibrated so that its sample does not saturate, errs by half a step at most, and counts what saturates."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from spectral_prep.choices import Storage, Transform
from spectral_prep.conversion.totals import totals
from spectral_prep.encoding import LARGEST, Encoding, calibrate, decode, encode, expected_psnr, with_psnr
from spectral_prep.errors import InputError
from spectral_prep.inspection.pixels import psnr
from spectral_prep.kernel import fused_split
from spectral_prep.spectrum import SpectralSpec, merge, split
from spectral_prep.store.record_file import decoded, plain

SPEC = SpectralSpec(4, 4)


def smooth_images(n: int, seed: int = 0) -> torch.Tensor:
    """Images whose pixels depend on their neighbours, as real ones do."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(n, 32, 32, 3)).cumsum(1).cumsum(2)
    low, high = waves.min((1, 2), keepdims=True), waves.max((1, 2), keepdims=True)
    return torch.from_numpy(np.round(255 * (waves - low) / (high - low)).astype(np.uint8))


@pytest.mark.parametrize("transform", ["dct", "dct2", "none"])
def test_the_calibration_sample_never_saturates_and_errs_by_half_a_step(transform: Transform) -> None:
    spec = SpectralSpec(4, 4, "blocks", transform)
    spectrum = split(smooth_images(16), spec)
    encoding = calibrate(spectrum, spec)
    stored = encode(spectrum, encoding)
    assert stored.dtype == torch.int8
    assert totals(stored)[2].sum() == 0
    step = torch.tensor(encoding.scale_factor).view(-1, 1, 1, 1, 1)
    assert ((decode(stored, encoding) - spectrum).abs() <= 0.5001 * step).all()


def test_the_calibrated_range_is_used_to_its_end() -> None:
    spectrum = split(smooth_images(16), SPEC)
    stored = encode(spectrum, calibrate(spectrum, SPEC))
    assert stored.flatten(1).abs().amax(1).tolist() == [126] * 16


def test_int8_images_come_back_within_a_few_grey_levels() -> None:
    images = smooth_images(16)
    encoding = calibrate(split(images, SPEC), SPEC)
    merged = merge(decode(fused_split(images, SPEC, encoding=encoding), encoding), SPEC)
    mean_square = (merged.double() - images.double()).square().mean()
    assert 10 * torch.log10(255**2 / mean_square) >= 50


def test_values_beyond_the_calibrated_range_saturate_and_are_counted() -> None:
    encoding = calibrate(split(torch.full((1, 8, 8, 1), 100, dtype=torch.uint8), SPEC), SPEC)
    stored = encode(split(torch.full((1, 8, 8, 1), 255, dtype=torch.uint8), SPEC), encoding)
    assert np.unique(stored[0].numpy()).tolist() == [LARGEST]
    assert totals(stored)[2].tolist() == [[4]] + [[0]] * 15


def test_a_spectral_without_deviation_takes_the_widest_range() -> None:
    empty = calibrate(torch.empty(16, 0, 1, 1, 1), SPEC)
    grey = calibrate(split(torch.full((4, 8, 8, 1), 127, dtype=torch.uint8), SPEC), SPEC)
    assert min(grey.scale_factor) > 0
    noise = torch.randint(0, 256, (64, 8, 8, 1), dtype=torch.uint8)
    assert totals(encode(split(noise, SPEC), empty))[2].sum() == 0


@pytest.mark.parametrize("wanted", [47.0, 42.0])
def test_images_keep_the_decibels_that_were_asked_for_at_one_common_step(wanted: float) -> None:
    images = smooth_images(64)
    spectrum = split(images, SPEC)
    finest = calibrate(spectrum, SPEC)
    chosen = with_psnr(finest, spectrum.flatten(1).numpy(), wanted)
    common = min(chosen.scale_factor)
    assert common > min(finest.scale_factor)
    assert chosen.scale_factor == tuple(max(scale, common) for scale in finest.scale_factor)
    assert chosen.add_offset == finest.add_offset
    kept = psnr((merge(decode(encode(spectrum, chosen), chosen), SPEC).int() - images.int()).numpy())
    assert kept == pytest.approx(wanted, abs=0.1)
    expected = expected_psnr(chosen, spectrum.flatten(1).double().var(1).tolist())
    assert expected is not None
    assert wanted - 1.5 < expected < wanted + 0.1


def test_more_decibels_than_int8_keeps_are_refused_with_what_it_keeps() -> None:
    spectrum = split(smooth_images(64), SPEC)
    finest = calibrate(spectrum, SPEC)
    with pytest.raises(InputError, match=r"--psnr \d\d\.\d or less.*--dtype float16") as refused:
        with_psnr(finest, spectrum.flatten(1).numpy(), 90.0)
    most = float(re.findall(r"--psnr (\S+)", str(refused.value))[0])
    assert with_psnr(finest, spectrum.flatten(1).numpy(), most).dtype == "int8"


def test_only_dc_is_centred() -> None:
    offsets = calibrate(split(smooth_images(2), SPEC), SPEC).add_offset
    assert offsets[0] == pytest.approx(127.5 * 4)
    assert np.abs(offsets[1:]).max() < 1e-9


def test_scalars_are_float32_numbers() -> None:
    encoding = calibrate(split(smooth_images(2), SPEC), SPEC)
    assert all(float(np.float32(value)) == value for value in encoding.scale_factor + encoding.add_offset)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floating_storage_is_a_cast(dtype: Storage) -> None:
    spectrum = split(smooth_images(2), SPEC)
    stored = encode(spectrum, Encoding(dtype))
    assert torch.equal(stored, spectrum.to(getattr(torch, dtype)))
    assert torch.equal(decode(stored, Encoding(dtype)), stored.float())
    assert totals(stored)[2].sum() == 0


def test_an_encoding_survives_json() -> None:
    encoding = calibrate(split(smooth_images(2), SPEC), SPEC)
    assert decoded(Encoding, plain(encoding), Path(), "it") == encoding


def test_wrong_encodings_are_refused() -> None:
    with pytest.raises(InputError, match="unknown storage dtype"):
        Encoding("bfloat16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unusable encoding"):
        Encoding("int8")
    with pytest.raises(InputError, match="needs an encoding"):
        fused_split(smooth_images(1), SPEC, dtype=torch.int8)
