"""Getting events out to those who are not connected: vetted addresses, durable retries, signatures."""
