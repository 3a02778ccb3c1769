"""The two drivers: they perform what the loop asks for, with threads or with asyncio."""
