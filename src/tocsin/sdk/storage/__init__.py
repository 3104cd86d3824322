"""What a workspace keeps of its runs: one SQLite file that many processes use."""
