"""Thin adapters of `kvmfw.arrow` to engines that work on many machines; each needs its extra (ray, spark)."""
