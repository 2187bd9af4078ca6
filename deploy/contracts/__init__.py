"""Guards the contracts: compares them with their baseline and generates their documents."""
