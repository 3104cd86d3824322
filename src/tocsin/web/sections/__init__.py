"""Parts of the API and of the pages that stand by themselves: each with its operations and its routes."""
