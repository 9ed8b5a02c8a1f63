"""Real engines for tests: a database server, a broker; each of its own, in a temporary directory, ended by its pid."""
