"""One connector a file; ``base`` has the contract."""
