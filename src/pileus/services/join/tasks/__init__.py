"""The role of joining."""
