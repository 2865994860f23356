"""The loss around models and between them: along lines, in planes, and how sharp it is where they stand."""
