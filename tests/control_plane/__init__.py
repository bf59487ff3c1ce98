"""Against a real Kubernetes control plane: `make kubernetes`. What it recorded is replayed by tests/serve/test_recorded.py."""
