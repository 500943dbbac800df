"""Doors for people: command line, batch, web, nodes."""
