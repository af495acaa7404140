"""`--quiet` of every command: nothing but figures that were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import run
from tests.workflow.test_cli import commands

ROAD = """
plan        figures  spectral-prep plan --dataset digits --q 4 --limit 60
begin                spectral-prep begin --dataset digits --q 4 --limit 60 --out d
convert              spectral-prep convert --dataset digits --q 4 --limit 60 --out d --workers 1
finalize             spectral-prep finalize d
info        figures  spectral-prep info d
verify      figures  spectral-prep verify d
show                 spectral-prep show d --out rows.png
cache       figures  spectral-prep cache --cache cache
train       figures  spectral-train --shard all --data d --run node --epochs 1
collect              spectral-ensemble collect run node
fuse        figures  spectral-ensemble fuse run --data d --epochs 1
runs        figures  spectral-ensemble runs .
evaluate    figures  spectral-ensemble evaluate run
predict     figures  spectral-ensemble predict run photo.png
report               spectral-ensemble report run --out report
export               spectral-ensemble export run --out network.pt2
soup                 spectral-ensemble soup run node --out soup --data d
"""


def test_every_command_says_no_more_than_the_figures_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("photo.png")
    steps = [line.partition("spectral-") for line in ROAD.strip().splitlines()]
    for head, program, rest in steps:
        done = run(f"{program}{rest} --quiet")
        assert (done.code, bool(done.out), done.err) == (0, "figures" in head, ""), rest
    assert {head.split()[0] for head, _, _ in steps} == {name.removeprefix("spectral-") for name in commands()}
