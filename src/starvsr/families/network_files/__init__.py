"""Networks of other projects, in files: baselines of benchmarks, and examples that training imitates."""
