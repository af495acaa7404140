"""What is written: paths, the atomic write and the stores."""
