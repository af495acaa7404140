"""The house stays as it was built: imports go downwards, modules and signatures stay small, `--help` is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.request import Request
from spectral_prep.store.layout import DatasetPaths
from tests.conftest import LONGEST, pytest_collection_modifyitems
from tests.support.releases import write_mnist

ROOT = Path(__file__).parents[2]
PACKAGES = ("spectral_prep", "spectral_train")
MOST_LINES = 350
MOST_PARAMETERS = 6

PREP = (
    "printable",
    "errors",
    "choices",
    "grid",
    "spectrum",
    "encoding",
    "system",
    "places",
    "engines",
    "kernel",
    "sources",
    "images",
    "store",
)
EDGES: Mapping[str, set[str]] = {
    "spectral_prep.printable": set(),
    "spectral_prep.errors": {"printable"},
    "spectral_prep.choices": set(),
    "spectral_prep.grid": {"errors", "choices"},
    "spectral_prep.spectrum": {"errors", "choices", "grid"},
    "spectral_prep.encoding": {"errors", "choices", "grid"},
    "spectral_prep.system": {"errors"},
    "spectral_prep.places": {"printable", "errors", "system"},
    "spectral_prep.engines": {"errors", "choices", "system"},
    "spectral_prep.kernel": {"errors", "choices", "grid", "spectrum", "encoding", "system"},
    "spectral_prep.sources": {"printable", "errors", "system", "places"},
    "spectral_prep.images": {"errors", "sources"},
    "spectral_prep.store": {*PREP} - {"engines", "kernel", "store"},
    "spectral_prep.conversion": {*PREP},
    "spectral_prep.inspection": {*PREP, "conversion"},
    "spectral_prep.console": {*PREP, "conversion", "inspection"},
    "spectral_train.seeds": set(),
    "spectral_train.device": set(),
    "spectral_train.models": set(),
    "spectral_train.recipe": {"models"},
    "spectral_train.folders": {"models"},
    "spectral_train.data": {"seeds", "recipe", "folders"},
    "spectral_train.run": {"models", "recipe", "data", "folders"},
    "spectral_train.training": {"seeds", "device", "models", "recipe", "data", "run", "folders"},
    "spectral_train.ensemble": {"seeds", "models", "recipe", "data", "run"},
    "spectral_train.report": {"models", "recipe", "run", "ensemble", "folders"},
    "spectral_train.commands": {"device", "models", "recipe", "data", "run", "training"},
    "spectral_train.ensemble_commands": {
        *("commands", "device", "recipe", "folders", "run", "training", "ensemble", "report"),
    },
    "spectral_train.export_command": {"ensemble_commands", "ensemble"},
    "spectral_train.fuse_command": {"commands", "ensemble_commands", "device", "run", "training", "ensemble"},
    "spectral_train.main": {"commands", "ensemble_commands", "export_command", "fuse_command"},
}
"""Which rooms of its own package each room may import; `spectral_train` may besides import any of `spectral_prep`."""


def modules() -> Iterator[tuple[str, ast.Module, int]]:
    """Yield (dotted name, syntax tree, lines) of every module of both packages."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text = path.read_text()
            yield name, ast.parse(text), len(text.splitlines())


MODULES = {name: (tree, lines) for name, tree, lines in modules()}


def imported(tree: ast.AST) -> set[str]:
    """Return the modules of this project that a module imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
    return {name for name in names if name in MODULES}


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_rooms_import_downwards_only() -> None:
    wrong = []
    for module, (tree, _) in MODULES.items():
        for other in imported(tree):
            below = other.startswith("spectral_prep") and module.startswith("spectral_train")
            if room(other) == room(module) or other in PACKAGES or below:
                continue
            if room(other).split(".")[1] not in EDGES[room(module)] or not other.startswith(module.split(".")[0]):
                wrong.append(f"{module} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_the_table_of_edges_has_no_circle() -> None:
    for start in EDGES:
        package = start.split(".")[0]
        reached, pending = set(), [f"{package}.{name}" for name in EDGES[start]]
        while pending:
            name = pending.pop()
            if name not in reached:
                reached.add(name)
                pending += [f"{package}.{below}" for below in EDGES[name]]
        assert start not in reached


def test_no_module_imports_itself_in_a_circle() -> None:
    edges = {name: imported(tree) - {name} for name, (tree, _) in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                # A package's own __init__ may bring its modules together; they do not import it.
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def test_no_module_has_outgrown_one_idea() -> None:
    assert {name: lines for name, (_, lines) in MODULES.items() if lines > MOST_LINES} == {}


def test_no_function_has_more_than_six_parameters() -> None:
    wrong = []
    for module, (tree, _) in MODULES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or _is_command(node) or module.endswith("kernel.operators"):
                continue  # a command's parameters are its options; an operator's are its schema
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [each.arg for each in arguments if each.arg not in ("self", "cls")]
            if len(names) > MOST_PARAMETERS:
                wrong.append(f"{module}.{node.name}: {', '.join(names)}")
    assert not wrong, "\n".join(wrong)


def _is_command(node: ast.FunctionDef) -> bool:
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def test_processes_that_share_the_tests_begin_with_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [file for file in LONGEST if not (ROOT / file).exists()] == []
    files = ["tests/workflow/test_cli.py", *reversed(LONGEST), "tests/workflow/test_cli.py"]
    items = [SimpleNamespace(nodeid=f"{file}::test_{number}") for number, file in enumerate(files)]
    given = list(items)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert items == given
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert items == [*given[-2:0:-1], given[0], given[-1]]


def imports(lines: str) -> list[str]:
    """Return which slow libraries a process has imported that runs these lines of Python."""
    program = f"""
import sys
import cli
def run(command, *arguments):
    try:
        command(arguments)
    except SystemExit as ended:
        assert ended.code == 0
{lines}
slow = ("torch", "zarr", "pydantic", "matplotlib", "ray", "scipy.optimize", "scipy.sparse")
print([name for name in slow if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return list(ast.literal_eval(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("command", ["prep", "train", "ensemble"])
def test_help_imports_no_torch(command: str) -> None:
    assert imports(f'run(cli.{command}, "--help")') == []


def test_what_converts_nothing_itself_imports_no_torch(tmp_path: Path) -> None:
    """A task that is done, one whose blocks workers convert, `finalize` and `info`."""
    write_mnist(tmp_path / "mnist", rows=40, test_rows=20)
    request, source, out = Request("mnist", "16", block_rows=20), tmp_path / "mnist", tmp_path / "out"
    convert(request, source, out, Execution(Task(0, 2), workers=1))
    line = (
        f'"--dataset", "mnist", "--source", {str(source)!r}, "--out", {str(out)!r}, "--q", "16", "--block-rows", "20"'
    )
    lines = [
        f'run(cli.prep, "convert", {line}, "--task", "0/2")',
        f'run(cli.prep, "convert", {line}, "--task", "1/2", "--workers", "2")',
        f'run(cli.prep, "finalize", {str(out)!r})',
        f'run(cli.prep, "info", {str(out)!r})',
    ]
    assert not {"torch", "scipy.sparse"} & set(imports("\n".join(lines)))
    assert DatasetPaths(out).manifest.exists()


def test_what_trains_imports_no_solver() -> None:
    assert "scipy.optimize" not in imports("import spectral_train.training.branch")
