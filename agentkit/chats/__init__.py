"""Conversations that remember: a chat, a manager of many, and what both have in common."""
