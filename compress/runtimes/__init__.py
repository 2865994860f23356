"""Processes of their own, with a time limit, in which runtimes run files that may be anyone's."""
