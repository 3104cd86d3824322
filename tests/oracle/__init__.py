"""What must be told, worked out from the semantics alone. Nothing here may import tocsin."""
