"""Spectral shard → trained branch → one ensembled network.

The rooms, each of which knows only those before it: `models` and `recipe` say what is trained and how, `data` turns the
folders that a node mounts into batches, `run` owns what the folder of a run holds, `training` fits a network, be it a
branch or the baseline, `ensemble` weighs, combines and uses the branches of a run, `report` tells of it. `commands` is
their command line.
"""
