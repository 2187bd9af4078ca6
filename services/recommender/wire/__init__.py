"""Messages to the application's types and back."""
