"""Spectral shard → trained branch → one ensembled network."""
