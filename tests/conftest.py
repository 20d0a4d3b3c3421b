"""What holds for the whole suite."""

import os

from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of the code. In CI the same examples run every time, so that
# a change is blamed for what it breaks; elsewhere each run tries new ones.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),  # noqa: TID251  # the tests' own switch
)
settings.load_profile("suite")
