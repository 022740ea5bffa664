"""`ringfence prove`: the real service, watched in a network of its own whose internet answers everything."""
