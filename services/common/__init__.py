"""Process plumbing that every service shares. No domain rules live here."""
