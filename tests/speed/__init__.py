"""What calls cost, kept from growing."""
