"""A block's files and sums are the same however many of its images are transformed at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spectral_prep.choices import Storage
from spectral_prep.conversion import block
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.kernel.stream import split_stream
from spectral_prep.store import plan_record
from tests.support.trees import tree


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_gpu_is_given_more_images_at_once_and_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Storage
) -> None:
    """A processor stands for the GPU; its batches are counted."""
    monkeypatch.setattr(plan_record, "BATCH_VALUES", 64 * 5)
    request = Request("digits", "4", dtype=dtype, block_rows=300)
    whole = tree(convert(request, Path(), tmp_path / "cpu").root)
    sizes: list[int] = []

    def on_cpu(batches: Iterator[Tensor], spec: Any, encoding: Any, device: str, turn: int) -> Iterator[Tensor]:
        for stored_QNChw in stream(batches, spec, encoding, "cpu"):
            sizes.append(stored_QNChw.shape[1])
            yield stored_QNChw

    stream = split_stream
    monkeypatch.setattr(block, "chosen_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(block, "split_stream", on_cpu)
    assert tree(convert(request, Path(), tmp_path / "gpu").root) == whole
    assert max(sizes) == 5 * block.GPU_BATCHES
