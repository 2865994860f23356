"""SEARCH: find the structure that a target asks for, from what blocks cost on this machine and what the model loses."""
