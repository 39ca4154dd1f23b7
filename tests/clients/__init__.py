"""The official clients as judges: what they see through either face is what their users rely on."""
