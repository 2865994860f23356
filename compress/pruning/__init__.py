"""The mathematics of pruning that several methods share: what a part is worth, what it costs, and the model without it."""
