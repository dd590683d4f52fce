"""What earlier versions left in a schema of PostgreSQL."""
