"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# How fast a machine draws and runs examples is no property of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
