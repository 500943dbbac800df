"""The published STAR within a budget: what a job needs, counted from shapes, where weights live, what gives way."""
