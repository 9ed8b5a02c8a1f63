"""Whole transactions: what one request, report or reconciliation changes, over all tables that it concerns.

Every function takes the transaction first and the `Fabric` second. Outside effects are none: agents converge.
"""
