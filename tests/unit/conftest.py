"""Settings of the property tests."""

from hypothesis import settings

settings.register_profile("unit", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("unit")
