"""A group of commands that is listed in the order of the work.

Input: commands, in the order in which they are used. Output: a `click.Group` whose help keeps it; click's own sorts by
the alphabet.
"""

from __future__ import annotations

import click


class OrderedGroup(click.Group):
    """Lists its commands as they were defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their definition."""
        return list(self.commands)
