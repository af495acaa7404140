"""From the folders of a shard to standardised batches on a device."""
