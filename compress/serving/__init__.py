"""Answer over HTTP with shipped folders, of any kind of task. Imports no torch; what `bert-compress serve` runs."""
