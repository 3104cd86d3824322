"""Pages of runs: lists, one run, several beside each other, their files and logs."""
