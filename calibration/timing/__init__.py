"""By how much one instrument's stamps lag another's."""
