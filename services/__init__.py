"""Cairn's services. They never import each other: they meet in protos/."""
