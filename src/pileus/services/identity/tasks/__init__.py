"""Identity's start-up and upkeep."""
