"""Durable flows: multi-step work that outlives its request and its process, and undoes itself when it cannot end."""

from pileus.kernel.flows.definition import Flow, Retry, Run, Step
from pileus.kernel.flows.runner import FlowRunner
from pileus.kernel.flows.store import FlowStore
from pileus.kernel.flows.tables import Fault, FlowSummary, LeaseLost

__all__ = ["Fault", "Flow", "FlowRunner", "FlowStore", "FlowSummary", "LeaseLost", "Retry", "Run", "Step"]
