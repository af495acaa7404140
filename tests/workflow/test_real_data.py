"""The official releases, at their real size: complete, verified, every pixel back. Needs SPECTRAL_TEST_DATA."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.estimate import estimate
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import read_index
from spectral_prep.images.load import Geometry, load
from spectral_prep.inspection.info import info
from spectral_prep.inspection.verify import Verification, verify
from spectral_prep.sources import open_source
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from tests.prep.images.test_resize import by_pillow
from tests.support.trees import tree

CIFAR10 = ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for path in tmp_path.rglob("*"):  # pytest keeps folders of three runs; these are large
        if path.is_file():
            path.unlink()


def verified(out: Path, source: Path) -> Verification:
    found = verify(out, lambda plan: open_source(plan.dataset, source, out.parent / "staging"))
    assert found.faults == ()
    assert found.pixels is not None
    return found


@pytest.mark.parametrize("q", ["16", "28"])
def test_mnist(real_data: Path, scratch: Path, q: str) -> None:
    out = convert(Request("mnist", q), real_data / "mnist", scratch / "out").root
    found = verified(out, real_data / "mnist")
    assert found.rows == {"train": 60000, "test": 10000}
    assert found.spectrals == int(q)


def test_the_four_layouts_of_cifar10(real_data: Path, scratch: Path) -> None:
    """All rows of each are read, which the fingerprint covers; some are converted, and those of one verified."""
    first: dict[str, bytes] = {}
    fingerprints = set()
    for number, layout in enumerate(CIFAR10):
        request, source = Request("cifar10", "32", limit=3000), real_data / "cifar10" / layout
        out = convert(request, source, scratch / str(number), Execution(workers=1))
        fingerprints.add(read_record(out.plan, Plan).fingerprint)
        first = first or tree(out.root)
        assert tree(out.root) == first
    assert len(fingerprints) == 1
    assert verified(scratch / "0", real_data / "cifar10" / CIFAR10[0]).rows == {"train": 2500, "test": 500}


@pytest.mark.parametrize("q", ["4", "32"])
def test_cifar10(real_data: Path, scratch: Path, q: str) -> None:
    source = real_data / "cifar10"
    whole = convert(Request("cifar10", q), source, scratch / "out", Execution(workers=1))
    assert verified(whole.root, source).rows == {"train": 50000, "test": 10000}
    plan = read_record(whole.plan, Plan)
    counts = [np.bincount([label for _, label in read_index(whole, plan, split)]) for split in ("train", "test")]
    assert [each.tolist() for each in counts] == [[5000] * 10, [1000] * 10]
    assert plan.classes[3] == "cat"


@pytest.mark.parametrize(("q", "limit"), [("4", 5000), ("16", None)])
def test_tiny_imagenet_at_64_pixels(real_data: Path, scratch: Path, q: str, limit: int | None) -> None:
    source = real_data / "tiny-imagenet"
    found = verified(convert(Request("folder", q, size=64, limit=limit), source, scratch / "out").root, source)
    assert found.rows == ({"train": 4560, "test": 440} if limit else {"train": 20000, "test": 2000})


def test_imagenet_at_224_pixels_as_int8(real_data: Path, scratch: Path) -> None:
    source = real_data / "imagenet" / "folder"
    expected = estimate(Request("imagenet", "16"), source, scratch / "out")
    out = convert(Request("imagenet", "16"), source, scratch / "out").root
    files = tree(out)
    assert len(files) == expected.files
    assert sum(map(len, files.values())) == pytest.approx(expected.bytes, rel=0.05)
    tars = convert(Request("imagenet", "16"), real_data / "imagenet" / "tars", scratch / "tars").root
    assert tree(tars) == files
    found = verified(out, source)
    assert found.rows == {"train": 400, "test": 100}
    assert found.pixels is not None
    assert found.pixels.psnr is not None
    assert found.pixels.psnr >= 50
    assert info(out).bytes / 500 <= 100_000


def test_imagenet_at_224_pixels_as_float16_is_exact(real_data: Path, scratch: Path) -> None:
    source = real_data / "imagenet" / "folder"
    found = verified(convert(Request("imagenet", "16", dtype="float16"), source, scratch / "out").root, source)
    assert found.pixels is not None
    assert found.pixels.psnr is None
    assert found.pixels.exact_rows == found.pixels.rows


def test_decode_and_resize_of_photographs_agree_with_pillow(real_data: Path) -> None:
    worst, means = 0, list[float]()
    for path in sorted((real_data / "imagenet" / "folder").rglob("*.JPEG")):
        raw = path.read_bytes()
        resized = by_pillow(np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")), 256, 224, 224)
        difference = np.abs(load(raw, Geometry(224, 224, 3, 256)) - resized.astype(np.int16))
        worst, means = max(worst, int(difference.max())), [*means, float(difference.mean())]
    assert len(means) == 500
    assert worst <= 2
    assert np.mean(means) <= 0.005
