"""Typed calls to sibling services."""
