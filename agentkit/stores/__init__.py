"""Where chats are kept: every step of them, from the moment it happened."""
