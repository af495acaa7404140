"""What all commands have in common: options that say how loud they are, help in groups, progress while they work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import click

from spectral_prep.console.progress import LOUDNESS, caused, display
from spectral_prep.errors import SpectralError
from spectral_prep.system.watch import watched

SETTINGS: Mapping[str, Any] = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}

OF_PREP: Mapping[str, str] = {
    "Source": "dataset source image-key image-column label-column download mirror max-pixels "
    "classes fraction limit test-fraction name",
    "Transform": "q layout transform dtype psnr size resize seed shuffle views augmentation",
    "Output": "out format compression block-rows on-error",
    "Machine": "task tasks engine ray-address workers max-memory no-space-check device",
}
OF_TRAIN: Mapping[str, str] = {
    "Data": "shard baseline data shards grouping common",
    "Model": "recipe model width-by list-recipes list-models",
    "Optimisation": "optimizer lr batch-size epochs augment seed set find-rate list-settings",
    "Output": "run log fuse-inputs",
    "Machine": "device memory joint cache cache-size no-cache engine ray-address gpus-per-branch workers compile "
    "dry-run gpu gpu-tflops",
}
OTHER = "Options"
"""Below which options stand that no group names."""
FEW_OPTIONS = 12
"""Up to which a command's options need no groups."""


class WatchedCommand(click.Command):
    """A command whose steps are shown while it runs; `--quiet` and `--verbose` say how much."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += [
            _loudness("quiet", "Say nothing but errors, warnings and what was asked for: figures, --json."),
            _loudness("verbose", "Say when each step ends, and what caused an error."),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command while its steps are shown."""
        with _shown():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of a command that has many in groups."""
        shown = [(each, record) for each in self.get_params(ctx) if (record := each.get_help_record(ctx))]
        if len(shown) <= FEW_OPTIONS:
            super().format_options(ctx, formatter)
            return
        for title in (*_groups(self), OTHER):
            records = [record for each, record in shown if section_of(each, self) == title]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class OrderedGroup(click.Group):
    """A click group whose help lists its commands as they were added, in the order of the work; click sorts them."""

    command_class = WatchedCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, as they were added.

        >>> work = OrderedGroup(commands=[click.Command("plan"), click.Command("convert")])
        >>> work.list_commands(click.Context(work))
        ['plan', 'convert']
        """
        return list(self.commands)


def section_of(option: click.Parameter, command: click.Command) -> str:
    """Return below which title of the help of a command an option stands."""
    names = {name.removeprefix("--") for name in option.opts}
    return next((title for title, own in _groups(command).items() if names & {*own.split()}), OTHER)


def _groups(command: click.Command) -> Mapping[str, str]:
    return OF_TRAIN if command.name == "spectral-train" else OF_PREP


def _loudness(name: str, explained: str) -> click.Option:
    def keep(context: click.Context, _: click.Parameter, given: bool) -> None:
        if given:
            context.meta[LOUDNESS] = name

    return click.Option([f"--{name}"], is_flag=True, expose_value=False, callback=keep, help=explained)


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(contextlib.closing(display()))
        stack.enter_context(watched(shown))
        try:
            yield
        except SpectralError as error:
            shown.close()
            caused(error)
            raise
