"""The driver kind `hypervisor`: what runs guests on a host. `interface.py` is the contract."""
