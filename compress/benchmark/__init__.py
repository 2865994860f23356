"""MEASURE: latency, memory, size and quality of the deployed file."""
