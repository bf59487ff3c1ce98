"""Benches of fleets, beside what people would use instead."""
