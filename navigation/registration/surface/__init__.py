"""Touched points against a surface: which transform, how sure, and what the touching leaves open."""

from navigation.registration.surface.register import SurfaceTask, register_surface
from navigation.registration.surface.result import SurfaceRegistration
from navigation.registration.surface.shape import FixedSurface

__all__ = ["FixedSurface", "SurfaceRegistration", "SurfaceTask", "register_surface"]
