"""Hypothesis profiles: HYPOTHESIS_PROFILE=fast (default), ci or deep."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("fast", max_examples=60, deadline=None, suppress_health_check=QUIET)
settings.register_profile(
    "ci", max_examples=400, deadline=None, suppress_health_check=QUIET, derandomize=True, print_blob=True
)
settings.register_profile("deep", max_examples=10_000, deadline=None, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
