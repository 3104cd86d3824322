"""What a backtest reads ahead of runs."""
