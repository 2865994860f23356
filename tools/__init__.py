"""What keeps README, docs and setup.cfg true; it works in a checkout and is not shipped in the wheel."""
