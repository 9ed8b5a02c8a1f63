"""The compute agent: what runs on every hypervisor host. Start reading at `agent.py`."""
