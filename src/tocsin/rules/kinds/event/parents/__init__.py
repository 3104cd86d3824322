"""Event rules with `collapse`: one alert for a parent."""
