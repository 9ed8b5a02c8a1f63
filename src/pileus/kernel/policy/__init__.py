"""Policy: who may do what, in the oslo.policy rule language that operators' files are written in."""

from pileus.kernel.policy.enforcer import Enforcer, Rule
from pileus.kernel.policy.language import PolicySyntaxError, compile_check

__all__ = ["Enforcer", "PolicySyntaxError", "Rule", "compile_check"]
