"""Against the real OpenStack: `make openstack`, in an environment of its own."""
