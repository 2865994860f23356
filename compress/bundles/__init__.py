"""SHIP to everyone: one folder that many readers read at once, each by its own names."""
