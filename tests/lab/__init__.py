"""Labs: made by the ordinary command, on real engines, with real guests, and taken away without a trace."""
