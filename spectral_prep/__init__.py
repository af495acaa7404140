"""Image data set → spectrum → row-aligned spectral shards."""
