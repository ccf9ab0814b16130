"""Recurrent networks: an LSTM, and one whose weights a smaller LSTM scales at every step."""
