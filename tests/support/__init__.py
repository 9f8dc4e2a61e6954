"""The rig: a throw-away home, the real agents in it, and a scripted model behind them."""
