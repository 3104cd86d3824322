"""The kinds of rules, a package each."""
