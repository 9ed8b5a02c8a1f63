"""Authentication: passwords and tokens in, tokens out."""
