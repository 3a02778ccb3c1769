"""Gemini's wire JSON, the form in which agentkit keeps, sends and stores everything."""
