# Debian packages that scripts need, installed where they lack. To be sourced by bash.

# How the program is built wherever scripts build it, so that they share what is built.
FEATURES="--features legacy-tls"
# Building: etcd-client's build runs protoc; aws-lc and jemalloc are C; legacy-tls is served by libssl.
BUILD_NEEDS="protoc:protobuf-compiler /usr/include/google/protobuf/descriptor.proto:libprotobuf-dev cc:gcc \
/usr/include/stdio.h:libc6-dev make:make pkg-config:pkg-config /usr/include/openssl/ssl.h:libssl-dev"
ETCD_NEEDS="etcd:etcd-server etcdctl:etcd-client"
TEST_NEEDS="curl:curl python3:python3 openssl:openssl mkfifo:coreutils haproxy:haproxy nginx:nginx-light \
apache2:apache2 promtool:prometheus varnishtest:varnish chromium:chromium htpasswd:apache2-utils perl:perl ip:iproute2 \
/usr/lib/python3/dist-packages/requests:python3-requests \
/usr/lib/python3/dist-packages/jsonschema:python3-jsonschema \
prometheus-haproxy-exporter:prometheus-haproxy-exporter"
# Besides a Docker engine, which nobody should get by installing a test.
COMPOSE_NEEDS="docker-compose:docker-compose"
SCAN_NEEDS="testssl:testssl.sh sslscan:sslscan openssl:openssl curl:curl python3:python3"
BENCH_NEEDS="haproxy:haproxy nginx:nginx wrk:wrk h2load:nghttp2-client taskset:util-linux python3:python3 curl:curl openssl:openssl"

# need WHAT:PACKAGE...: installs each PACKAGE whose WHAT, a command or a file, is not there.
need() {
    local pair what missing=()
    for pair in "$@"; do
        what=${pair%:*}
        has "$what" || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing: ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        fail "this machine has no apt-get: install ${missing[*]} (names as on Debian 12) and start again"
    fi
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            fail "not root and no sudo: run 'apt-get install ${missing[*]}' as root and start again"
        as_root=(sudo)
    fi
    "${as_root[@]}" bash -s "${missing[@]}" <<'ROOT' || fail "could not install ${missing[*]}"
set -e
export DEBIAN_FRONTEND=noninteractive
# Packages of servers start them, on the very ports that others want. This says no to that for as
# long as the installation runs, unless the machine has a policy of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" </dev/null
ROOT
    for pair in "$@"; do
        what=${pair%:*}
        has "$what" || fail "$what is still missing after ${pair##*:} was installed"
    done
}

# need_rust: finds cargo, also where a fresh rustup put it and this shell does not look yet.
need_rust() {
    if ! command -v cargo >/dev/null && [ -f "${CARGO_HOME:-$HOME/.cargo}/env" ]; then
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    command -v cargo >/dev/null || fail "cargo is missing: install a Rust toolchain (rustup) and start again"
}

has() {
    case $1 in
    /*) [ -e "$1" ] ;;
    # Servers live in sbin, which is not on every user's path.
    *) command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}
