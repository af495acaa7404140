"""The front door of a checkout: the three commands, which installed console scripts find in the packages themselves.

An installed package has no module of this name, which any other's would overwrite.
"""

from spectral_prep.console.main import prep
from spectral_train.main import ensemble, train

__all__ = ["ensemble", "prep", "train"]
