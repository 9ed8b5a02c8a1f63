"""What to do about findings. Each repair looks again before it acts; one file per concern."""
