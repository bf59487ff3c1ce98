"""Fleets on many machines: pure functions on record batches, and thin adapters to engines, which need their extras."""
