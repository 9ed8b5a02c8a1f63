"""The multi-step operations of compute."""
