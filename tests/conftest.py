"""One thread a test, one small data set for many tests, and the real sets where SPECTRAL_TEST_DATA names them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from spectral_prep.convert import convert
from spectral_prep.request import Request


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that the real image sets were unpacked to."""
    folder = os.environ.get("SPECTRAL_TEST_DATA")
    if not folder:
        pytest.skip("SPECTRAL_TEST_DATA does not name the folder of the real image sets")
    return Path(folder)


@pytest.fixture(scope="session")
def _digits_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "digits-q4"
    convert(Request("digits", "4", block_rows=300), Path(), out)
    return out


@pytest.fixture
def digits(_digits_once: Path, tmp_path: Path) -> Path:
    """A converted data set of a test's own: digits at Q = 4, seven blocks."""
    return Path(shutil.copytree(_digits_once, tmp_path / "digits-q4"))
