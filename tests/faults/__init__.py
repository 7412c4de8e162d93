"""Deliberate faults, a file for each orchestrator, that its judge must find."""
