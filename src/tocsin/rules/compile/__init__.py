"""From rule files to rules in force."""
