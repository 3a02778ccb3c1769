"""Runnable agents: `python -m examples.NAME "question"`."""
