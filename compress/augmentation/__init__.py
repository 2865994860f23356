"""More sentences to distil on, made of those that are there."""
