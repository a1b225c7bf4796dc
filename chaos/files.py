"""Files by which the conductor and the workers tell each other things that concern the buffer not at all."""

CLOCK = "clock"
"""In a worker's directory: milliseconds by which its clock is wrong."""
ORPHANS = "orphans"
"""In the run's directory: a line for each sweep that had to queue something again, with how much."""
