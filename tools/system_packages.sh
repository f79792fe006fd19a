#!/bin/sh
# Installs the Debian packages named in the given lists unless all are there; asks sudo only when something is missing.
# A service that comes with one of them is neither started nor enabled: it would listen on this machine's network.
set -eu
lists=$(cat "$@" | sed 's/#.*//')

missing=
for package in $lists; do
    state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this is no Debian system; install what these packages provide, then use make with SYSTEM=skip:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: neither root nor sudo; ask an administrator for: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "setup: system packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        echo "setup: '$*' failed; the lines above say why" >&2
        exit 1
    }
}
# Debian asks this file whether it may start a service (invoke-rc.d); 101 is no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root install -m 755 /dev/stdin "$policy"
    trap 'rm -f "$log"; $as_root rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086
{
    quietly $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update
    quietly $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
    for service in $(dpkg-query -L $missing | sed -n 's,^/etc/init.d/,,p'); do
        quietly $as_root update-rc.d "$service" disable
    done
}
