"""Where images come from: one file a release layout."""
