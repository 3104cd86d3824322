"""KQL text to a tree."""
