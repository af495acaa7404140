"""Spectral shard → trained branch → one ensembled network.

The order of the rooms: `grouping` and `shard` load what a node mounts, `holdout` and `loader` turn it into batches,
`models` and `recipes` say what is trained and how, `fit` trains, `branch` and `baseline` are the two things that are
trained, `ensemble` weighs and combines, `evaluate` and `predict` use the result. `runs` owns every path of a run.
"""
