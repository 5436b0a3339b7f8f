"""Protocol clients and parsers: what a server says, without a word on what that means. They know nothing of probing."""
