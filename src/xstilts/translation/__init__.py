"""Training data in other languages: made by a sequence-to-sequence model, or given and held against the original."""
