"""Faults, power cuts, kills and damage, by the thousand: `python -m tests.torture` (docs/reliability.md)."""
