"""The console scripts `spectral-train` and `spectral-ensemble`, run as `spectral_prep.console.main` runs its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from spectral_prep.console.main import run
from spectral_train.commands import train_command
from spectral_train.ensemble_commands import ensemble_group
from spectral_train.export_command import export_command
from spectral_train.fuse_command import fuse_command

ensemble_group.add_command(export_command)
ensemble_group.add_command(fuse_command)


def train(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console script `spectral-train`."""
    run(train_command, arguments)


def ensemble(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console script `spectral-ensemble`."""
    run(ensemble_group, arguments)
