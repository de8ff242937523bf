"""Real images: pools drawn class by class, and the datasets behind them."""
