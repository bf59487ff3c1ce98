"""Planners as clients: thin adapters that ask a fleet and compute nothing of their own (docs/planners/)."""
