"""SEARCH: many recipes, one front."""
