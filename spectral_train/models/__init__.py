"""Networks: one file each, one table of names."""
