"""Rules of other systems, in and out."""
