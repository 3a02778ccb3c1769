"""How the `files` tools read paths, reach files below a root, and keep text as it is."""
