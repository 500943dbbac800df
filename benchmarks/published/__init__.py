"""The published STAR networks: cost, memory, repairs."""
