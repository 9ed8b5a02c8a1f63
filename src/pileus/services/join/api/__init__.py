"""What new hosts may ask."""
