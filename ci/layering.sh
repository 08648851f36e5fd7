#!/usr/bin/env bash
# Imports run one way. For each room of src/, and of src/redis/: the rooms that it may import. A `use` of
# any other, or a room that is not listed, is an error; so is reading time outside clock.rs, and naming the
# atomics' home outside sync.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

may_import() {
    case $1 in
        sync | word | error) echo "" ;;
        quota) echo "error" ;;
        time) echo "quota" ;;
        clock) echo "error sync time" ;;
        algorithm) echo "error quota time word" ;;
        cell) echo "sync" ;;
        answer) echo "algorithm" ;;
        timeline) echo "algorithm answer clock error quota sync time" ;;
        bucket) echo "algorithm answer cell clock error quota sync timeline" ;;
        limiter) echo "algorithm answer bucket cell clock error quota sync timeline word" ;;
        keyed) echo "algorithm answer bucket cell clock error quota sync time timeline word" ;;
        combined) echo "answer bucket error keyed limiter timeline wait" ;;
        wait) echo "answer bucket clock error keyed limiter quota" ;;
        warm_up) echo "algorithm answer bucket cell clock error quota timeline wait word" ;;
        redis) echo "algorithm answer bucket clock combined error keyed quota sync wait" ;;
        any) echo "algorithm answer bucket error keyed limiter quota redis wait" ;;
        tiers) echo "answer error keyed quota" ;;
        model) echo "algorithm bucket cell clock keyed limiter quota sync timeline" ;;
        lib) echo "algorithm answer any clock combined error keyed limiter quota redis tiers wait warm_up" ;;
        *) return 1 ;;
    esac
}

redis_may_import() {
    case $1 in
        error | metrics) echo "" ;;
        client) echo "error" ;;
        script) echo "client" ;;
        outage) echo "client error metrics script" ;;
        queue) echo "error script" ;;
        request) echo "client error outage queue script" ;;
        limiter) echo "client error metrics outage request script" ;;
        lease) echo "error limiter metrics outage script" ;;
        mod) echo "error lease limiter metrics outage request" ;;
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
    if [[ $file == src/redis/* && $file != src/redis/tests/* ]]; then
        inner=${file#src/redis/}
        inner=${inner%%/*}
        inner=${inner%.rs}
        allowed=" $inner $(redis_may_import "$inner" || { complain "$file: no such room in ci/layering.sh"; echo; }) "
        while read -r import; do
            [[ $allowed == *" $import "* ]] || complain "$file imports crate::redis::$import"
        done < <(grep -v '^ *//' "$file" | grep -oE 'crate::redis::[a-zA-Z_]+' | sed 's/crate::redis:://' | sort -u)
    fi
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
