"""Mutation checks: see docs/contributing.md."""
