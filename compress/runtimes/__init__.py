"""One file, one runtime, in `table.RUNTIMES`; and the processes of their own in which runtimes run files that may be anyone's.

The table is not here, since those processes import this package, and what they import is part of the memory that is reported.
"""
