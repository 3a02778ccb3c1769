"""How the calculator reads and computes: numerals, words, phrases, grammar; expression, arithmetic, functions."""
