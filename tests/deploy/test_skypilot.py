"""deploy/skypilot without a cloud: tasks have SkyPilot's fields, and what they run is what our commands understand."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from spectral_prep.console.commands import prep_group
from spectral_train.commands import train_command
from spectral_train.ensemble_commands import ensemble_group
from tests.support.pages import ROOT, shell

FOLDER = ROOT / "deploy/skypilot"
FIELDS = {"name", "resources", "num_nodes", "envs", "secrets", "workdir", "setup", "run"}
RESOURCES = {"cpus", "memory", "accelerators", "use_spot"}
STUB = '#!/bin/sh\nexec python3 -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$(basename "$0")" "$@"\n'
GROUPS = {"spectral-prep": prep_group, "spectral-ensemble": ensemble_group}

Task = Mapping[str, Any]


def documents(name: str) -> list[Task]:
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))


def tasks(name: str) -> list[Task]:
    """Return the tasks of a file: of a pipeline, those after the document with its name."""
    found = documents(name)
    return found[1:] if len(found) > 1 else found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the environment that `setup` makes, whose commands print what they are given."""
    folder = tmp_path / "spectral/bin"
    folder.mkdir(parents=True)
    (folder / "activate").write_text(f'PATH="{folder}:$PATH"\n')
    for command in ("spectral-prep", "spectral-train", "spectral-ensemble"):
        (folder / command).write_text(STUB)
        (folder / command).chmod(0o755)
    return tmp_path


def ran(task: Task, home: Path) -> Iterator[dict[str, Any]]:
    """Run a task on each of its nodes; yield, of each node, the options that its command has understood."""
    for rank in range(task.get("num_nodes", 1)):
        given = {name: "3" if value is None else value for name, value in (task["envs"] | task["secrets"]).items()}
        given |= {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": str(task.get("num_nodes", 1))}
        env = {"PATH": os.environ["PATH"], "HOME": str(home), **given}
        done = subprocess.run(["bash", "-c", task["run"]], env=env, capture_output=True, text=True, check=True)
        command, *arguments = json.loads(done.stdout)
        parsed: click.Command = train_command
        if command in GROUPS:
            parsed = GROUPS[command].commands[arguments.pop(0)]
        yield {"command": f"{command} {parsed.name}", **parsed.make_context(command, arguments).params}


@pytest.mark.parametrize("name", ["convert", "train", "evaluate"])
def test_a_task_has_the_fields_of_skypilot_and_secrets_without_a_value(name: str) -> None:
    for task in tasks(name):
        assert task.keys() <= FIELDS
        assert task["resources"].keys() <= RESOURCES
        assert all(isinstance(value, str) for value in task["envs"].values() if value is not None)
        assert set(task["secrets"].values()) == {None}
        assert subprocess.run(["bash", "-n", "-c", task["setup"]]).returncode == 0
    if len(documents(name)) > 1:
        assert documents(name)[0].keys() == {"name"}


def test_converting_is_begun_once_shared_by_all_nodes_and_finalized(home: Path) -> None:
    begin, convert, finalize = ([*ran(task, home)] for task in tasks("convert"))
    assert [each[0]["command"].split()[1] for each in (begin, convert, finalize)] == ["begin", "convert", "finalize"]
    assert [each["task"] for each in convert] == [f"{rank}/{len(convert)}" for rank in range(len(convert))]
    for each in convert:
        assert {name: each[name] for name in ("dataset", "source", "q", "out")} == {
            name: begin[0][name] for name in ("dataset", "source", "q", "out")
        }
    assert finalize[0]["folder"] == begin[0]["out"]
    assert len({json.dumps(task["envs"]) for task in tasks("convert")}) == 1


def test_branches_are_trained_on_what_was_converted_and_evaluated(home: Path) -> None:
    (converted, *_), (trained,), (evaluated,) = (
        [next(ran(task, home)) for task in tasks(name)] for name in ("convert", "train", "evaluate")
    )
    assert trained["data"] == converted["out"]
    assert trained["shard"] == "3"
    assert trained["run"] == evaluated["run"]


def test_the_lines_of_the_page_name_files_variables_and_secrets_that_are_there() -> None:
    (block,) = shell("docs/clusters.md", "SkyPilot")
    launched = re.findall(r"sky jobs launch (.*?\.yaml)", block)
    assert [line.rpartition("/")[2] for line in launched] == ["convert.yaml", "train.yaml", "evaluate.yaml"]
    for line in launched:
        words = shlex.split(line)
        for task in tasks(Path(words[-1]).stem):
            for option, value in itertools.pairwise(words):
                if option in ("--env", "--secret"):
                    assert value.partition("=")[0] in task[f"{option[2:]}s"]
            assert set(task["secrets"]) <= set(words)
            assert {name for name, value in task["envs"].items() if value is None} <= {
                w.partition("=")[0] for w in words
            }
