"""Scratch files lie beside the output, go with the run that made them, and are known by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectral_prep.system.staging import is_staging, kept_beside, staging_folder


def test_scratch_files_lie_on_the_disk_of_the_output_and_go_also_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with staging_folder(tmp_path) as folder:
            folder.mkdir()
            (folder / "pixels").touch()
            assert folder.parent == tmp_path
            assert is_staging(folder.name)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(tmp_path.iterdir())


def test_without_an_output_they_lie_elsewhere_and_nothing_is_kept() -> None:
    with staging_folder(None) as folder:
        assert folder.is_dir()
        assert kept_beside(folder) == folder
    assert not folder.exists()


def test_two_runs_share_what_is_kept_and_nothing_else(tmp_path: Path) -> None:
    with staging_folder(tmp_path) as one, staging_folder(tmp_path) as other:
        assert one != other
        assert kept_beside(one) == kept_beside(other) == tmp_path / ".staging-kept"
        assert is_staging(kept_beside(one).name)
