"""A simulated operating room: patient, probe, tracker and hand, with physics of its own. Everything it
emits is SIMULATION.

It shares no model with the reconstruction (an import contract says so): rays through a collimated
crystal, extended sources, true tissue paths and a scatter build-up of its own. Not modelled: photon
transport proper (scatter is an empirical build-up of broader angular response, without its dependence on
the body's edges; no scatter in the shield); bone, lung and air in the attenuation of the probe's counts
(the phantom CT shows bone deep below); bowel and deformation of tissue under the probe (as a whole it
breathes, and shifts after a resection, where `course` says so); blood, bent tools; pile-up, gain drift of
the energy window, electronic noise, more than one nuclide; the tracker's anisotropic errors, ghost
markers, clock drift against the counter, lost or repeated messages; septa of multi-hole collimators;
uptake of organs other than the one the scene names.
"""

from __future__ import annotations

from navigation.simulate.bench import BENCH_SCENES, bench_scene
from navigation.simulate.scenes import SCENES, Scene, build_scene

__all__ = ["BENCH_SCENES", "SCENES", "Scene", "bench_scene", "build_scene"]
