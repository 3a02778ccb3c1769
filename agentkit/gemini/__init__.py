"""Gemini through google-genai: the model, its transport, its faults and its streams."""
