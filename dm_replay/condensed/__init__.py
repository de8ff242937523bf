"""Condensed sets as values: stored, cut, joined, shown, exported."""
