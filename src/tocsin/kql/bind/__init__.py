"""Names and types of a query's tree, and its SQL."""
