"""deploy/kubernetes without a cluster: manifests fit the schemas and each other, and what their pods run, runs here."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from tests.support.commands import COMMANDS, run
from tests.support.kubernetes import (
    Manifest,
    commands,
    container,
    environments,
    expanded,
    install_kubectl,
    manifests,
)
from tests.support.pages import ROOT, shell
from tests.support.trees import tree

FOLDER = ROOT / "deploy/kubernetes"
KINDS = ("pvc", "bucket")
STEPS = ("convert", "finalize", "train", "evaluate")
BY_VOLUME, FOR_BUCKET = shell("docs/clusters.md", "Kubernetes")
OLDEST = "1.29"
"""As the page says: the first with a limit of failures by index without a feature gate."""


def job(kind: str, step: str) -> Manifest:
    (only,) = manifests(FOLDER / kind / f"{step}.yaml")
    return only


def settings(folder: Path) -> dict[str, str]:
    return dict(manifests(folder / "settings.yaml")[0]["data"])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_manifest_fits_the_schema_strictly(path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for version in (OLDEST, validate.latest_version()):
        for manifest in manifests(path):
            validate.validate(manifest, version, strict=True)  # raises also where it has no schema


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_a_job_fits_its_settings_and_is_retried_only_where_that_helps(kind: str, step: str) -> None:
    given, manifest = settings(FOLDER / kind), job(kind, step)
    pod, policy = manifest["spec"]["template"]["spec"], manifest["spec"]["podFailurePolicy"]["rules"]
    assert manifest["metadata"]["name"] == f"spectral-{step}"  # run.sh asks for it
    for environment in environments(manifest, given):
        for argument in container(manifest)["args"]:
            assert "$" not in expanded(argument, environment)
    assert {source.get("configMapRef", {}).get("name") for source in container(manifest)["envFrom"]} >= {
        manifests(FOLDER / kind / "settings.yaml")[0]["metadata"]["name"]
    }
    indexed = step in ("convert", "train")
    assert ("JOB_COMPLETION_INDEX" in " ".join(container(manifest)["args"])) == indexed
    assert manifest["spec"]["backoffLimitPerIndex" if indexed else "backoffLimit"] == 3
    if indexed:
        count = {
            "convert": next(environments(manifest, given)).get("TASKS"),
            "train": math.prod(map(int, given["Q"].split("x"))),
        }
        assert manifest["spec"]["completions"] == manifest["spec"]["parallelism"] == int(count[step] or 0)
    assert pod["restartPolicy"] == "Never"  # the policy wants it
    assert [rule["action"] for rule in policy] == ["Ignore", "FailJob"]
    assert policy[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert policy[1]["onExitCodes"] == {"containerName": container(manifest)["name"], "operator": "In", "values": [2]}
    resources = container(manifest)["resources"]
    assert resources["requests"] == resources["limits"]
    assert {mount["name"] for mount in container(manifest)["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_the_claim_that_is_mounted_is_made_with_the_settings() -> None:
    claim = manifests(FOLDER / "pvc/settings.yaml")[1]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for step in STEPS:
        (volume,) = job("pvc", step)["spec"]["template"]["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = container(job("pvc", step))["volumeMounts"]
        for place in ("SOURCE", "OUT", "RUN"):
            assert settings(FOLDER / "pvc")[place].startswith(f"{mount['mountPath']}/")


def without_places(manifest: Manifest) -> Manifest:
    """Take out of a job what says where its data lie, and with which keys they are reached."""
    pod, only = manifest["spec"]["template"]["spec"], container(manifest)
    del pod["volumes"], pod["containers"], only["volumeMounts"]
    sources = [source for source in only.pop("envFrom") if "secretRef" not in source]
    variables = [variable for variable in only.pop("env", []) if variable["value"] != "/scratch"]
    return {"manifest": manifest, "container": only, "sources": sources, "variables": variables}


@pytest.mark.parametrize("step", STEPS)
def test_the_sets_differ_in_places_only(step: str) -> None:
    volume, bucket = (job(kind, step) for kind in KINDS)
    (secret,) = [source["secretRef"] for source in container(bucket)["envFrom"] if "secretRef" in source]
    assert f"create secret generic {secret['name']} " in FOR_BUCKET
    assert without_places(volume) == without_places(bucket)


@pytest.fixture
def kubectl(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a stub that says of every job that it is complete, at the third look."""
    (clone / "bin").mkdir()
    install_kubectl(clone / "bin")
    monkeypatch.setenv("PATH", f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECTL_LOG", str(clone / "asked"))
    monkeypatch.setenv("KUBECTL_SAYS", "Suspended SuccessCriteriaMet Complete")
    monkeypatch.setenv("POLL", "0")
    return clone / "asked"


def edit(folder: Path, place: Path) -> None:
    """Change what the page says is to be changed: digits into 4 spectrals by 2 tasks."""
    for step, count in {"convert": 2, "train": 4}.items():
        (manifest,) = manifests(folder / f"{step}.yaml")
        manifest["spec"] |= {"completions": count, "parallelism": count}
        for variable in container(manifest).get("env", []):
            variable["value"] = "2" if variable["name"] == "TASKS" else variable["value"]
        (folder / f"{step}.yaml").write_text(yaml.safe_dump(manifest))
    config, *others = manifests(folder / "settings.yaml")
    config["data"] |= {"DATASET": "digits", "Q": "2x2", "OUT": f"{place}/digits-q4", "RUN": f"{place}/run"}
    (folder / "settings.yaml").write_text(yaml.safe_dump_all([config, *others]))


def test_what_the_pods_run_in_the_order_of_the_script_is_the_whole_road(kubectl: Path, clone: Path) -> None:
    *before, go = BY_VOLUME.splitlines()
    subprocess.run(["bash", "-euc", "\n".join(before)], check=True)
    edit(clone / "mine", clone)
    subprocess.run(["bash", "-euc", go], check=True)
    asked = [line.split() for line in kubectl.read_text().splitlines()]
    applied = [Path(words[2]) for words in asked if words[0] == "apply"]
    assert [path.stem for path in applied] == ["settings", *STEPS]
    for step in STEPS:  # looked at until complete, before the next one
        asked_of = [words[0] for words in asked if f"job/spectral-{step}" in words or f"mine/{step}.yaml" in words]
        assert asked_of[:5] == ["delete", "apply", "get", "get", "get"]
    assert asked[-1] == ["logs", "job/spectral-evaluate"]
    for path in applied[1:]:
        for words in commands(manifests(path)[0], settings(clone / "mine")):
            assert words[0] in COMMANDS
            done = run(shlex.join(words))
            assert done.code == 0, done.err
    assert "learned" in done.out
    convert(Request("digits", "2x2"), Path(), clone / "local")
    assert tree(clone / "digits-q4") == tree(clone / "local")


def test_a_job_that_failed_ends_the_script(kubectl: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_SAYS", "Suspended FailureTarget Failed")
    done = subprocess.run(["bash", "-euc", FOR_BUCKET], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Error: job/spectral-convert failed. Run next: kubectl logs " in done.stderr
    assert "finalize" not in kubectl.read_text()


def test_a_command_that_has_to_change_ends_with_the_exit_code_of_the_policy() -> None:
    manifest = job("pvc", "convert")
    wrong = {**settings(FOLDER / "pvc"), "DATASET": "digits", "Q": "3x"}
    assert run(shlex.join(next(commands(manifest, wrong)))).code == 2
