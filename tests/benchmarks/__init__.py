"""How fast and how small Cairn is on this machine: `make bench`."""
