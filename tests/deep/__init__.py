"""What takes longer than a test may: faults injected again and again, counted. ``python -m tests.deep --help``."""
