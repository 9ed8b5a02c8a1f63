"""The only code that touches the machine: links, namespaces, packet filters, subprocesses."""
