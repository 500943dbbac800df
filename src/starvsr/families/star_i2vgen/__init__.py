"""STAR on I2VGen-XL (arXiv 2501.02976): the published star-light and star-heavy."""
