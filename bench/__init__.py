"""Measurements of a cloud that is started for them: `python -m bench`."""
