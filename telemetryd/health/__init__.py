"""How the daemon is: component status from a closed set, counters, and the delivery state of each run."""
