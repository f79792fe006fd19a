"""A set of simulated scans with truth apart, and the scores of whatever method was run on them."""
