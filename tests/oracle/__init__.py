"""What must be notified, worked out from the semantics alone. Nothing here may import tocsin."""
