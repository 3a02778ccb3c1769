"""How the web tool works: addresses judged, pages fetched, HTML read in a process of its own."""
