"""What the operating system gives, for both packages: files that are whole, locks, workers, CPUs and memory."""
