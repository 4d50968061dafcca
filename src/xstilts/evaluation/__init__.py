"""From predictions to scores: retrieval and mining, XTREME submission files and the official scorer."""
