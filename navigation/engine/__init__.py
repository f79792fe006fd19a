"""The engine: one recorded sequence of events in, frozen snapshots out."""
