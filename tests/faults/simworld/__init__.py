"""The whole product in one seeded event loop, in virtual time, over a network in memory."""
