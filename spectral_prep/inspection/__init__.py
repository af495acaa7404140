"""Looking at what was converted: verify it, show a row of it, say what it is."""
