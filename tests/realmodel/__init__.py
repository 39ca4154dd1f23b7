"""A real model behind the gateway: what is asserted is the protocol, never the prose."""
