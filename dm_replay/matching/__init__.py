"""Condensation by distribution matching."""
