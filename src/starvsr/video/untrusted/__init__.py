"""Protection from hostile files: limits, checks of their structure, decoding in a separate process."""
