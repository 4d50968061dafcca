"""The mini world: a small synthetic multilingual world, written in the upstream formats of every dataset."""
