"""What made the branches of a run unequally wide, as the record of each branch remembers it.

Input: a recipe. Output: the same before the rule, or as the rule makes it. Which rules there are, and how widths follow
from them, stands in `training.widths`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from spectral_prep.store.fields import require
from spectral_train.recipe.recipe import Recipe, override


@dataclass(frozen=True)
class WidthRule:
    """`by` the energies of the shards or by multipliers of a file; the `widths` of the S branches that follow from it.

    `usual` is the width that the recipe asked for, None where it left that to the model.
    """

    by: Literal["energy", "multipliers"]
    usual: int | float | None
    widths: tuple[int | float, ...]

    def __post_init__(self) -> None:
        allowed = all(0 < width < math.inf for width in self.widths)
        require(allowed, "no widths", "finite numbers above 0", self.widths)

    @property
    def option(self) -> str | None:
        """The option of `spectral-train` that gives each branch its width, None where that took a file."""
        return "--width-by energy" if self.by == "energy" else None

    def before(self, recipe: Recipe) -> Recipe:
        """Return what the recipe of a branch was before the rule."""
        return self._with(recipe, self.usual)

    def for_shard(self, recipe: Recipe, shard: int) -> Recipe:
        """Return what to ask for, given any branch's recipe, so that the branch of a shard gets its width.

        It is the recipe before the rule where `option` makes that width of it, else the recipe with the width.
        """
        return self._with(recipe, self.usual if self.option else self.widths[shard])

    def _with(self, recipe: Recipe, width: float | None) -> Recipe:
        rest = {name: value for name, value in recipe.model_options.items() if name != "width"}
        bare = dataclasses.replace(recipe, model_options=rest)
        return bare if width is None else override(bare, model_options={"width": width})
