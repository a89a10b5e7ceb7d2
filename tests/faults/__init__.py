"""Faults: real processes and servers, killed, cut off and stalled at moments that a test chooses."""
