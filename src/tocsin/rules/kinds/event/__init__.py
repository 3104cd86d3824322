"""Event rules: one alert for each occurrence of a run."""
