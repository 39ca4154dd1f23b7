"""Promises that every implementation of a store keeps, whatever it is made of."""
