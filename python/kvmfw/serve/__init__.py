"""The service: answers about one fleet over HTTP and Arrow Flight (extra ``serve``; docs/planners/serve.md)."""
