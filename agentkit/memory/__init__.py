"""What part of a long history is sent: views of it, which never change what is stored."""
