#!/usr/bin/env bash
# Imports run one way. For each room of src/: the rooms that it may import. A `use` of any other, or a
# room that is not listed, is an error; so is reading time outside clock.rs, and naming the atomics'
# home outside sync.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

may_import() {
    case $1 in
        sync | word) echo "" ;;
        quota) echo "error" ;;
        time) echo "quota" ;;
        clock) echo "error sync time" ;;
        algorithm) echo "error quota time word" ;;
        cell) echo "sync" ;;
        figures) echo "algorithm" ;;
        # Denials compute their figures; a quota names its error, which is a plain value.
        error) echo "algorithm figures quota" ;;
        striped) echo "algorithm cell quota sync" ;;
        live) echo "algorithm clock error figures quota sync time" ;;
        line) echo "algorithm cell clock error figures live quota sync" ;;
        limiter) echo "algorithm cell clock error figures line live quota striped word" ;;
        keyed) echo "algorithm cell clock error figures line live quota sync time word" ;;
        combined) echo "error figures keyed limiter line live wait" ;;
        wait) echo "clock error figures keyed limiter line" ;;
        warm_up) echo "algorithm cell clock error figures line live quota wait word" ;;
        redis) echo "algorithm clock combined error figures keyed line quota sync" ;;
        any) echo "algorithm error figures keyed quota redis wait" ;;
        tiers) echo "error keyed quota" ;;
        model) echo "algorithm cell clock keyed limiter line live quota striped sync" ;;
        lib) echo "algorithm any clock combined error figures keyed limiter quota redis tiers wait warm_up" ;;
        *) return 1 ;;
    esac
}

failed=0
complain() {
    echo "layering: $*" >&2
    failed=1
}

while read -r file; do
    room=${file#src/}
    room=${room%%/*}
    room=${room%.rs}
    allowed=" $room $(may_import "$room" || { complain "$file: no such room in ci/layering.sh"; echo; }) "
    while read -r import; do
        [[ $allowed == *" $import "* ]] || complain "$file imports crate::$import"
    done < <(grep -v '^ *//' "$file" | grep -oE 'crate::[a-z_]+' | sed 's/crate:://' | sort -u)
    if [[ $room != sync && $room != model ]] && grep -v '^ *//' "$file" | grep -qE '(core|std)::sync::atomic'; then
        complain "$file names the atomics' home"
    fi
    if [[ $room != clock ]] && grep -v '^ *//' "$file" | grep -qE 'Instant::now|\.elapsed\(|SystemTime|quanta::|rustix::time'; then
        complain "$file reads time"
    fi
    if [[ $room == algorithm || $room == cell ]] && grep -v '^ *//' "$file" | grep -qE 'f32|f64'; then
        complain "$file decides by floating point"
    fi
done < <(find src -name '*.rs' | sort)
exit "$failed"
