"""The ledger before a judge: what a provider bills, line by line, whatever goes wrong between."""
