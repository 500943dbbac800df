"""A batch on a cluster that is simulated on this machine: what kills cost, what a driver needs, how work scales."""
