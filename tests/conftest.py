"""Hypothesis profiles (HYPOTHESIS_PROFILE=fast, the default, ci or deep), and signals as on a terminal."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("fast", max_examples=60, deadline=None, suppress_health_check=QUIET)
# The same examples in each run: more of them cost minutes each time and show the same. `deep` looks further.
settings.register_profile(
    "ci", max_examples=80, deadline=None, suppress_health_check=QUIET, derandomize=True, print_blob=True
)
settings.register_profile("deep", max_examples=10_000, deadline=None, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# A shell starts background jobs with SIGINT ignored, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
