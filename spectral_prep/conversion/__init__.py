"""A row's way in the order in which it happens: request, plan, tasks, blocks, and the data set completed."""
