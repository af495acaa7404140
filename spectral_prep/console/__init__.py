"""The command line: options, progress and text; the only rooms of the package that print."""
