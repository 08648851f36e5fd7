#!/bin/sh
# The benchmarks: sluicegate against its peers, interleaved in one run, as Markdown on standard output.
#
#   ci/bench.sh                     everything, about five minutes
#   ci/bench.sh --filter direct     what follows goes to the bench: see `ci/bench.sh --help`
#   ci/bench.sh --criterion         criterion's runs, case by case, after the tables
#   ci/bench.sh --waiting           a thousand tasks that wait, against leaky-bucket, after the tables; three minutes
#   ci/bench.sh --redis             limits in Redis, on a redis-server of their own, after the tables; three minutes
set -eu
cd "$(dirname "$0")/.."

criterion=
waiting=
redis=
for argument; do
    shift
    case $argument in
        --criterion) criterion=yes ;;
        --waiting) waiting=yes ;;
        --redis) redis=yes ;;
        *) set -- "$@" "$argument" ;;
    esac
done

version() {
    # A crate that several others bring in may come in several versions.
    awk -v name="$1" -F '"' '
        $1 == "name = " { found = $2 == name }
        $1 == "version = " && found { all = all (all == "" ? "" : " and ") $2 }
        END { print all }
    ' Cargo.lock
}

os() {
    if [ -r /etc/os-release ]; then
        sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release
    else
        uname -s
    fi
}

cpu() {
    if [ -r /proc/cpuinfo ]; then
        sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1
    else
        sysctl -n machdep.cpu.brand_string 2>/dev/null || uname -m
    fi
}

cores=$(getconf _NPROCESSORS_ONLN)
hypervisor=
if grep -qw hypervisor /proc/cpuinfo 2>/dev/null; then
    hypervisor=", a virtual machine"
fi
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)

cat <<END
| | |
| --- | --- |
| CPU | $(cpu), $cores cores$hypervisor |
| OS | $(os), $(uname -sr) |
| huge pages | $(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || echo unknown) |
| malloc | ${GLIBC_TUNABLES:-as it comes} |
| load before | $(uptime | sed 's/.*load average[s]*: *//') |
| rustc | $(rustc --version), profile bench, no LTO |
| date | $(date -u '+%Y-%m-%d %H:%M UTC') |
| sluicegate | $(version sluicegate), $commit |
END
for crate in governor ratelimit leaky-bucket redis tokio dashmap parking_lot ahash foldhash siphasher quanta criterion; do
    echo "| $crate | $(version $crate) |"
done
printf '| command | `ci/bench.sh%s` |\n\n' "${*:+ $*}"

cargo bench --quiet --bench versus -- "$@"

if [ -n "$criterion" ]; then
    echo "### Criterion"
    echo
    echo '```text'
    cargo bench --quiet --bench direct --bench contended --bench keyed
    echo '```'
fi

if [ -n "$waiting" ]; then
    echo "### Waiting"
    echo
    cargo bench --quiet --features tokio --bench waiting
fi

if [ -n "$redis" ]; then
    echo "## Redis"
    echo
    redis-server --version | sed 's/ sha=.*//'
    echo
    cargo bench --quiet --features redis --bench redis
fi
