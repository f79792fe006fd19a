#!/bin/sh
# Runs the demo: in a window where there is a display, else headless with the window drawn on a virtual screen.
set -eu
gammanav=$1 out=$2 seed=$3
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$gammanav" demo --out "$out" --seed "$seed" --force
fi
echo "demo: no display; results, report.html and window.png go to $out"
exec "$gammanav" demo --out "$out" --seed "$seed" --force --headless
