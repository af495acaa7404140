"""Limits that libraries set and that both packages keep.

Input: nothing. Output: numbers, each with the library that it comes from.
"""

from __future__ import annotations

LARGEST_SEED = 2**32 - 1
"""What numpy's RandomState takes, whose frozen streams order the rows and choose those that are held out."""
