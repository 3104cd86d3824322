"""The rule language: schema, compilation, evaluation."""
