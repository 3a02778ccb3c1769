"""How units are named and read, and what a question about them asks for."""
