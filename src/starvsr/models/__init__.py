"""Networks, codecs and where their weights come from."""
