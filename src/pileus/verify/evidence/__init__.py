"""Evidence: what was read, as plain structs. One file per place that is read; `whole.py` puts it together."""
