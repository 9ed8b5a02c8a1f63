"""How identity's work is done, by kind."""
