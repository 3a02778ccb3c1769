"""From typed Python functions to function declarations, and from function calls to function responses."""
