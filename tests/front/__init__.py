"""The HTTP front of the gateway, against callers who mean ill and networks that cut anywhere."""
