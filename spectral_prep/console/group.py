"""A group of commands whose help lists them in the order of the work, which is the order of their definition."""

from __future__ import annotations

import click


class OrderedGroup(click.Group):
    """A click group; click's own sorts the names of its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, as they were added.

        >>> work = OrderedGroup(commands=[click.Command("plan"), click.Command("convert")])
        >>> work.list_commands(click.Context(work))
        ['plan', 'convert']
        """
        return list(self.commands)
