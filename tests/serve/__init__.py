"""The service, as it is reached: over HTTP and Arrow Flight."""
