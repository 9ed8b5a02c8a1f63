"""Many hosts on one machine: namespaces, real engines, the ordinary commands, and faults."""
