"""Structural tags: free text with constrained regions, as machines."""
