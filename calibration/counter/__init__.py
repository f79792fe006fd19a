"""What a counter makes of a rate: dead time, and the statistics of counts."""
