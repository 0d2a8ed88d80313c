"""The tabs of the page; each builds its layout, wires its events and offers its endpoint."""
