"""What a manifest lets a pod run, as the kubelet reckons it, and a `kubectl` that writes down what it was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KUBECTL = """#!/usr/bin/env bash
# Says of each job what $KUBECTL_SAYS has, one word a look; the last one again and again.
echo "$*" >>"$KUBECTL_LOG"
if [[ $1 == get ]]; then
  looks="$(grep --count --fixed-strings "get $2 " "$KUBECTL_LOG")"
  read -r -a said <<<"$KUBECTL_SAYS"
  echo "${said[looks <= ${#said[@]} ? looks - 1 : -1]}"
fi
"""


def manifests(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))


def container(job: Manifest) -> Manifest:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environments(job: Manifest, settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment of each pod of a job: the settings that it takes in, its own variables, its index."""
    own = {variable["name"]: variable["value"] for variable in container(job).get("env", [])}
    for index in range(job["spec"].get("completions", 1)):
        indexed = {"JOB_COMPLETION_INDEX": str(index)} if job["spec"].get("completionMode") == "Indexed" else {}
        yield {**settings, **own, **indexed}


def expanded(argument: str, environment: Mapping[str, str]) -> str:
    """Put the values of $(NAME) in; what is not there stays as it is."""
    return re.sub(r"\$\((\w+)\)", lambda named: environment.get(named[1], named[0]), argument)


def commands(job: Manifest, settings: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the command line of each pod; the image's entry point hands it on."""
    for environment in environments(job, settings):
        yield [expanded(argument, environment) for argument in container(job)["args"]]


def install_kubectl(folder: Path) -> None:
    """Put the stub where the PATH finds it, and a `docker` that does nothing."""
    for name, text in {"kubectl": KUBECTL, "docker": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
