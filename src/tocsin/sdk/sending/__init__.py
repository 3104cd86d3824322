"""Events on their way to tocsin: made, spooled, sent."""
