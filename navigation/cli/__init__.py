"""The console command `gammanav`: each module defines one click `command`, loaded when it is asked for."""
