"""The whole procedure in a simulated operating room, over real sockets: the main job from one command."""
