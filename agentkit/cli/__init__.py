"""The command `agentkit`: files of functions to talk to in a terminal. Extra `cli`; the way in is `main`."""
