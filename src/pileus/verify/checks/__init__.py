"""Comparisons. Each check is a pure function from the evidence to the differences it finds; one file per concern."""
