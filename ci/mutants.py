#!/usr/bin/env python3
"""Breaks, one at a time, the lines that the loom models guard, and expects the named model to fail.

    ci/mutants.py            every mutant (about 15 minutes on 2 cores)
    ci/mutants.py fence tag  those whose name contains one of the words

Works on a copy of the tree. A mutant that survives, or a line that is no longer there, is an error.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CELL, TABLE, SLOT = "src/cell.rs", "src/keyed/table.rs", "src/keyed/slot.rs"
FIRST_TOUCH = "src/keyed/first_touch.rs"
BATCH = "src/algorithm/batch.rs"
STRIPED, TIMELINE = "src/limiter/striped.rs", "src/timeline.rs"
STRIPE = "src/limiter/striped/stripe.rs"
STORE, VERBS = "src/limiter/store.rs", "src/bucket/verbs.rs"
CHANGE, TIMELINE_CHANGE = "src/limiter/set_quota.rs", "src/timeline/change.rs"
QUEUE, ORDER = "src/bucket/queue/places.rs", "src/bucket/queue/order.rs"
BUCKET, TOKEN_BUCKET = "src/bucket.rs", "src/algorithm/token_bucket.rs"
COMBINED, LIMIT, PARTS = "src/combined/mod.rs", "src/combined/limit.rs", "src/combined/reservation.rs"
LEASE, LEASES = "src/algorithm/lease.rs", "src/keyed/leases.rs"
LEDGER, PROCESS = "src/keyed/ledger.rs", "src/sync/process.rs"
ANNOUNCED, CACHED, BEGIN = "src/timeline/announced.rs", "src/timeline/cached.rs", "src/timeline/begin.rs"

# Name, file, the line as it is, the line broken, the model that must fail.
MUTANTS = [
    ("a give-back is not entered in the key's account", LEDGER,
     "            account.returned = account.returned.wrapping_add(units);\n", "            let _ = account;\n",
     "keyed_place_against_a_refund"),
    ("a place's account is open only later", LEDGER,
     "self.shard().open.store(book.accounts.len() as u64, Relaxed);", "",
     "keyed_place_against_a_refund"),
    ("a reset leaves the places of its key as they are", LEDGER,
     "            account.number = number;\n", "            let _ = (account, number);\n",
     "keyed_place_against_a_reset"),
    ("what is taken of the shared bucket leaves no floor", TABLE,
     "self.lines.floor(hash).raise(value, |a, b| buckets.emptier(a, b, now));",
     "let _ = |a, b| buckets.emptier(a, b, now);",
     "shared_bucket_against_a_first_touch"),
    ("a taker of the shared bucket does not look for its slot", TABLE,
     "Self::search(self.lines.pair(hash), Self::tag(hash)).is_none()",
     "{ let _ = Self::search(self.lines.pair(hash), Self::tag(hash)); true }",
     "shared_bucket_against_a_first_touch"),
    ("a taker of the shared bucket looks without a fence", TABLE,
     "now));\n        fence(SeqCst);", "now));",
     "shared_bucket_against_a_first_touch"),
    ("an eviction leaves no floor", FIRST_TOUCH,
     "            forgotten.raise(self.fields.value(word), emptier);\n", "",
     "eviction_against_a_first_touch_of_the_victim"),
    ("a first touch does not look at its floor", FIRST_TOUCH,
     "let start = emptier(floor.under(fresh, emptier), displaced);\n        let (next",
     "let start = emptier(fresh, displaced);\n        let _ = floor;\n        let (next",
     "a_life_between_the_search_and_the_first_touch"),
    ("the floor is raised after the swap", FIRST_TOUCH,
     """            forgotten.raise(self.fields.value(word), emptier);
        }
        if words.compare_exchange(word, reserved, AcqRel, Relaxed).is_err() {
            return Ok(Claimed::Again);
        }""",
     """        }
        let forgotten = self.lines.floor(tags.load(Acquire));
        if words.compare_exchange(word, reserved, AcqRel, Relaxed).is_err() {
            return Ok(Claimed::Again);
        }
        forgotten.raise(self.fields.value(word), emptier);""",
     "eviction_against_a_first_touch_of_the_victim"),
    ("a place goes back to the word whichever caller is behind it", TOKEN_BUCKET,
     "full.wrapping_sub(end) as i64 <= 0;", "full.wrapping_sub(end) as i64 <= 1 << 62;",
     "two_cancels_in_front_of_a_place"),
    ("of two that leave at once, one does not see what the other left", QUEUE,
     "bucket.queues().with_queue_or(key(whose), take_back, |queue, told| {",
     """if take_back().is_some() {
        return;
    }
    bucket.queues().with_queue_or(key(whose), || None, |queue, told| {""",
     "the_last_two_leave_at_once"),
    ("the callers behind stay where they are", ORDER,
     "            run.start = span.start;\n", "",
     "leaving_against_being_served"),
    ("what was granted and not acted on is lost", ORDER,
     "let free = granted.or_else(|| self.run_of(key).map(|at| self.detach(at, key)));",
     "let free = if granted.is_some() { None } else { self.run_of(key).map(|at| self.detach(at, key)) };",
     "leaving_against_being_served"),
    ("what a waiter leaves is taken from a reservation behind it", VERBS,
     "let back = rule.take_back(state, now.units, span.end, span.units())?;",
     "let back = rule.take_back(state, now.units, state, span.units())?;",
     "leaving_against_a_reservation"),
    ("a reset leaves places as they are", BUCKET,
     "(!void).then(", "(!void | true).then(",
     "reset_elsewhere_against_cancel"),
    ("a reset is counted only when it is over", BUCKET,
     "self.resets.update(|resets| Step::Put(resets.wrapping_add(HALF), ()));", "",
     "reset_elsewhere_against_cancel"),
    ("a place taken during a reset counts", BUCKET,
     "if begun == ended { begun } else { VOID }", "begun.wrapping_add(0 * ended)",
     "place_against_a_reset_elsewhere"),
    ("a give-back is counted without a fence", BUCKET,
     """        self.returned.update(|returned| Step::Put(returned.wrapping_add(units), ()));
        fence(Release);""",
     "        self.returned.update(|returned| Step::Put(returned.wrapping_add(units), ()));",
     "undo_against_a_refund_and_a_check"),
    ("an undo loads what was given back without a fence", BUCKET,
     """        fence(Acquire);
        let void = since""", "        let void = since",
     "undo_against_a_refund_and_a_check"),
    ("a reset begins its count without a fence", BUCKET,
     """        fence(Release);
        let swapped = swap();""", "        let swapped = swap();",
     "reset_elsewhere_against_a_check_and_cancel"),
    ("swap becomes a store", CELL,
     "match self.0.compare_exchange_weak(seen, word, Relaxed, Relaxed) {",
     "self.0.store(word, Relaxed);\n match Ok::<u64, u64>(0) {",
     "two_threads_admit_at_most_the_burst"),
    ("a change of a state by store", STORE,
     "Step::Put(self.join(drawn, state), (answer, true))",
     "let word = self.join(drawn, state); self.cell.update(|_| Step::Put(word, ())); Step::Keep((answer, true))",
     "admit_against_refund"),
    ("batch forgets what was held", BATCH,
     "let need = n - held;", "let need = n; let _ = held;",
     "batch_field_against_refill"),
    ("search does not look at the tag again", TABLE,
     "if slot::state(word) >= PENDING && tags.load(Acquire) == tag {",
     "if slot::state(word) >= PENDING {",
     "hit_against_the_reuse_of_its_slot"),
    ("the short way does not look at the tag again", TABLE,
     "if slot::state(word) != LIVE || place.0.load(Acquire) != tag {",
     "if slot::state(word) != LIVE {",
     "hit_against_the_reuse_of_its_slot"),
    ("hit does not look at the tag after a lost swap", TABLE,
     """                Err(newer) => word = newer,
            }
            if slot::state(word) != LIVE || tags.load(Acquire) != tag {""",
     """                Err(newer) => word = newer,
            }
            if slot::state(word) != LIVE {""",
     "hit_against_the_reuse_of_its_slot"),
    ("denial does not load the word again", TABLE,
     "if again == word {", "if true {",
     "denial_against_the_reuse_of_its_slot"),
    ("denial does not look at the tag after the word has changed", TABLE,
     """                    word = again;
                    if slot::state(word) != LIVE || tags.load(Acquire) != tag {""",
     """                    word = again;
                    if slot::state(word) != LIVE {""",
     "denial_against_a_reset_and_the_reuse_of_its_slot"),
    ("a first touch that changes nothing leaves its announcement", FIRST_TOUCH,
     """                kill(words, pending);
                return Some(answer);""", "                return Some(answer);",
     "a_life_between_the_search_and_the_first_touch"),
    ("an epoch of one bit, of buckets", SLOT,
     "let epoch = (word >> self.value_bits).wrapping_add(1);",
     "let epoch = (word >> self.value_bits) & 1 ^ 1;",
     "two_epochs_against_a_hit"),
    ("an epoch of one bit, of windows", SLOT,
     "let epoch = (word >> self.value_bits).wrapping_add(1);",
     "let epoch = (word >> self.value_bits) & 1 ^ 1;",
     "two_epochs_of_a_window_against_a_hit"),
    ("promotion releases nothing", FIRST_TOUCH,
     "let won = words.compare_exchange(pending, live, AcqRel, Relaxed).is_ok();",
     "let won = words.compare_exchange(pending, live, Relaxed, Relaxed).is_ok();",
     "first_touch_by_a_place_against_a_refund"),
    ("no fence after the announcement", FIRST_TOUCH,
     """        fence(SeqCst);
        let mut others""", "        let mut others",
     "first_touch_by_two_threads"),
    ("no look at the other candidates", FIRST_TOUCH,
     "let mut others = pair.bearing(tag) & !(1 << i);", "let mut others = 0_u32;",
     "first_touch_by_two_threads"),
    ("a helper promotes without looking", TABLE,
     "self.settle(buckets, key, i, word, FULL, &mut op)\n                };",
     "{ let now = buckets.now(); match op(self.fields.value(word), now) { Change::Grow(v, r) | Change::Shrink(v, r) => pair.slot(i).1.compare_exchange(word, slot::with_state(self.fields.with_value(word, v), LIVE), AcqRel, Relaxed).is_ok().then_some(r), Change::Keep(r) => Some(r) } }\n                };",
     "first_touch_by_three_threads"),
    ("no look again after a kill", FIRST_TOUCH,
     """            // The other may have been promoted instead, or announced anew: look again.
            others = pair""", "            let _ = pair",
     "first_touch_by_t"),
    ("a live candidate does not win", FIRST_TOUCH,
     "if slot::state(other) == LIVE || j < i {", "if j < i {",
     "first_touch_by_two_threads"),
    ("promotion by store", FIRST_TOUCH,
     "let won = words.compare_exchange(pending, live, AcqRel, Relaxed).is_ok();",
     "words.store(live, Release); let won = true;",
     "first_touch_by_t"),
    ("claim that changes neither epoch nor value", SLOT,
     "            self.next_epoch(word, self.value(word))\n        };", "            word\n        };",
     "helper_against_owner_and_the_next_owner"),
    ("eviction that keeps the epoch", SLOT,
     "with_state(self.next_epoch(word, fresh), RESERVED)",
     "with_state(self.with_value(word, fresh), RESERVED)",
     "eviction_against_a_hit"),
    ("refund and reset that keep the epoch", TABLE,
     "(fields.next_epoch(word, value), answer)", "(fields.with_value(word, value), answer)",
     "refund_against_reuse"),
    ("the key evicts itself", FIRST_TOUCH,
     "if slot::state(word) == LIVE && tags.load(Acquire) == tag {",
     "if slot::state(word) == LIVE && tags.load(Acquire) == 0 {",
     "two_evictions_for_one_key"),
    ("tag store releases nothing", FIRST_TOUCH,
     "tags.store(tag, Release);", "tags.store(tag, Relaxed);",
     "the_reuse_of_its_slot"),
    ("announcement releases nothing", FIRST_TOUCH,
     "words.store(pending, Release);", "words.store(pending, Relaxed);",
     "the_reuse_of_its_slot"),
    ("search acquires nothing with the word", TABLE,
     """            let word = words.load(Acquire);
            // The tag again""",
     """            let word = words.load(Relaxed);
            // The tag again""",
     "the_reuse_of_its_slot"),
    ("promotion by a clock that lags", FIRST_TOUCH,
     "let now = buckets.not_before(buckets.now(), fresh);", "let now = buckets.now();",
     "lagging_clock_at_the_reuse_of_a_slot"),
    ("a lease brings what was not debited", STRIPED,
     "match at.split.bucket.take(full, at.units, n + lease) {",
     "match at.split.bucket.take(full, at.units, n) {",
     "two_threads_lease_and_spend"),
    ("a stripe is opened twice", STRIPE,
     "match lease_max.checked_sub(word) {", "match lease_max.checked_sub(word & !OPEN) {",
     "two_threads_lease_for_one_stripe"),
    ("a lease forgets what was spent meanwhile", STRIPED,
     "if !stripe.fill(leased) {",
     "let spent = at.split.lease_max - room.unwrap_or(0) - stripe.held();\n if !stripe.fill(spent + leased) {",
     "spend_against_a_lease_for_the_same_stripe"),
    ("what an idle stripe gives is leased once more", STRIPED,
     "let room_left = room.map_or(0, |room| room - found);", "let room_left = room.unwrap_or(0);",
     "idle_stripe_hands_back_against_its_owner"),
    ("a gather takes by a store", CELL,
     "match self.0.compare_exchange_weak(seen, word, Relaxed, Relaxed) {",
     "self.0.store(word, Relaxed);\n match Ok::<u64, u64>(0) {",
     "gather_against_the_stripes_owner"),
    ("a late gather keeps what it took", STRIPED,
     "if taken.is_none() && got > 0 {", "if taken.is_none() && got > n {",
     "gather_against_a_take_of_the_rest"),
    ("a gather does not look whether the centre has the rest", STRIPED,
     "match at.spare(full, rest).and_then(|_| bucket.take(full, at.units, rest)) {",
     "match Some(bucket.charge(full, at.units, rest)) {",
     "gather_against_a_take_of_the_rest"),
    ("a reading by the first quota does not look at the generation again", TIMELINE,
     "if announced.generation.load(Relaxed) != 0 {", "if false {",
     "reading_against_two_changes"),
    ("a reading does not look at the generation again", TIMELINE,
     "let still = announced.generation.load(Relaxed) == seen.generation;", "let still = true;",
     "reading_against_two_changes"),
    ("a reading after a change does not look at the generation again", TIMELINE,
     """            fence(Acquire);
            if announced.generation.load(Relaxed) == generation {""", "            if true {",
     "reading_against_two_changes"),
    ("a segment begins where its change was computed", TIMELINE_CHANGE,
     "            announced.publish(generation, change);\n",
     """            announced.publish(generation, change);
            announced.read(generation.wrapping_add(1)).map(|(_, beginning)| beginning.put(ticks));
""",
     "time_is_counted_once"),
    ("a segment begins before others see its generation", BEGIN,
     "        fence(SeqCst);\n        beginning", "        beginning",
     "time_is_counted_once"),
    ("a segment begins for each user when that user sees it", ANNOUNCED,
     "Err(begun) => begun,", "Err(_) => ticks,",
     "two_processes_begin_one_segment"),
    ("a beginning far ahead is one", BEGIN,
     "            Some(began) if self.is_absurd(began) => return None,\n", "",
     "absurd_beginning"),
    ("a reading by the first quota without its fence", TIMELINE,
     "        fence(Acquire);\n        if announced.generation", "        if announced.generation",
     "time_is_counted_once"),
    ("a reading by a later quota without its fence", TIMELINE,
     "        fence(Acquire);\n        let still", "        let still",
     "reading_against_two_changes"),
    ("a reading after a change without its fence", TIMELINE,
     """            fence(Acquire);
            if announced.generation.load(Relaxed) == generation {""",
     "            if announced.generation.load(Relaxed) == generation {",
     "reading_against_two_changes"),
    ("a change is written without its fence", ANNOUNCED,
     "        fence(Release);\n        let record", "        let record",
     "first_reading_against_the_next_change_but_one"),
    ("a cached segment is written without its fence", CACHED,
     "        fence(Release);\n        let Slope", "        let Slope",
     "reading_against_the_next_cached_segment_but_one"),
    ("a segment is cached in the place of a later one", CACHED,
     "if seen >= generation && seen != NONE {", "if seen == generation || seen >> 63 == 1 && seen != NONE {",
     "late_reading_against_a_cached_segment"),
    ("two threads change the quota at once", PROCESS,
     "taken.is_ok().then(|| Self(word))", "{ let _ = taken; Some(Self(word)) }",
     "two_threads_change_the_quota"),
    ("a change's checksum is not compared", ANNOUNCED,
     "if record.check.load(Relaxed) != not_yet {", "if false {",
     "harmed_change_makes_no_segment"),
    ("a clock just behind a beginning reads a huge time", TIMELINE,
     "if since >> 60 == 15 { 0 } else { since }", "since",
     "clock_behind_a_beginning"),
    ("what a void lease brings is as old as the look before it", STRIPED,
     "self.give_back(centre, made, time, lease);", "self.give_back(centre, full.min(made), time, lease);",
     "lease_against_set_quota"),
    ("a stripe is emptied by a look from before it was filled", STRIPE,
     """            let seen = self.cell.load();
            // ORDERING: pairs with the Release fence of `fill`.
            fence(Acquire);
            let before = centre.load();
""", """            let before = centre.load();
            let seen = self.cell.load();
""",
     "lease_against_set_quota"),
    ("the generation is raised before the change is written", ANNOUNCED,
     """        fence(Release);
        let record""", "        self.generation.store(next, Release);\n        let record",
     "reading_against_two_changes"),
    ("a cached segment is declared whole before it is", CACHED,
     """        fence(Release);
        let Slope {""", "        self.generation.store(generation, Release);\n        let Slope {",
     "two_readings_against_a_change"),
    ("an idle bucket is not brought up to date before its burst grows", CHANGE,
     "gathered = now.units;", "gathered = state;",
     "larger_burst_against_check"),
    ("tokens drawn ahead are forgotten when the quota changes", CHANGE,
     "rule.refund(state, now.units, drawn).unwrap_or(state);", "state; let _ = drawn;",
     "larger_burst_against_check"),
    ("a check by the first quota reads any time", "src/timeline.rs",
     """        let since = self.ticks_unchanged(announced)?;
        Some(Reading { units: self.initial""", """        let since = self.timer.ticks();
        let _ = announced;
        Some(Reading { units: self.initial""",
     "set_quota_against_check"),
    ("a lease that is on its way is not made void", STRIPE,
     "word => Step::Put(OPEN | VOID, Some(word & TOKENS)),",
     "word => Step::Put(OPEN, Some(word & TOKENS)),",
     "lease_against_set_quota"),
    ("a lease does not look whether its quota is current", STRIPED,
     "if room.is_some() && !time.is_current(now) {", "if room.is_some() && time.is_current(now) && false {",
     "lease_against_set_quota"),
    ("a lease whose quota is not current leaves its stripe open", STRIPED,
     "            stripe.close();\n", "",
     "void_lease_against_set_quota"),
    ("what is void is lost", STRIPED,
     "if !stripe.fill(leased) {", "if !stripe.fill(leased) && leased == u64::MAX {",
     "void_lease_against_set_quota"),
    ("the time of a change is not settled at the old rate", BEGIN,
     "let ticks = now.segment.ticks.wrapping_add(now.since);", "let ticks = now.segment.ticks;",
     "reading_against_two_changes"),
    ("a combined denial keeps what was debited", COMBINED,
     "debit.iter().for_each(|debit| limit.undo(debit));", "let _ = debit.iter().for_each(|debit| { let _ = (limit, debit); });",
     "denial_after_a_debit_against_admits"),
    ("a combined reservation that fails keeps its places", PARTS,
     "self.places_mut().rev().for_each(Reservation::undo);", "self.places_mut().for_each(Reservation::spend);",
     "place_in_two_queues_against_a_check"),
    ("combined limits are debited as they were given", LIMIT,
     "(self.draws_ahead, core::ptr::from_ref(self.bucket).cast::<()>().addr(), self.hash)",
     "(self.draws_ahead, usize::from(self.which), self.hash)",
     "two_calls_in_opposite_orders"),
    ("the last of combined limits is only looked at", COMBINED,
     "match last.take(n) {", "match last.look(n) {",
     "grant_against_a_check"),
    ("everybody who goes under the low water is told to ask", LEASE,
     "let ask = value & ASKED == 0 && left < low_water(value);",
     "let ask = left < low_water(value);",
     "two_takers_of_one_lease"),
    ("a deposit forgets what is left", LEASE,
     "left(value).saturating_add(tokens)", "left(value).saturating_mul(0).saturating_add(tokens)",
     "takers_against_a_deposit"),
    ("a deposit leaves the question asked", LEASE,
     "pack(end, left(value).saturating_add(tokens), low.into(), 0)",
     "pack(end, left(value).saturating_add(tokens), low.into(), ASKED)",
     "takers_against_a_deposit"),
    ("a denial wipes out what is left", LEASE,
     "(left(value) == 0).then(denied)", "(left(value) < MOST).then(denied)",
     "denial_against_a_deposit_and_a_take"),
    ("a first touch sees what the slot's last key had", LEASES,
     "if self.first { lease::nothing(self.ticks) } else { value }",
     "if self.first && value == 0 { lease::nothing(self.ticks) } else { value }",
     "reuse_of_a_slot_where_the_ends_wrap"),
    ("a first touch that makes the value smaller keeps the epoch", FIRST_TOUCH,
     "Change::Shrink(value, answer) => (self.fields.next_epoch(pending, value), answer),",
     "Change::Shrink(value, answer) => (self.fields.with_value(pending, value), answer),",
     "first_touch_with_a_smaller_value_against_a_question"),
    ("what is asked at a first touch is asked once more", LEASE,
     "false => (pack(now + patience.min(LONGEST), 0, 0, ASKED), short(true)),",
     "false => (pack(now + patience.min(LONGEST), 0, 0, 0), short(true)),",
     "first_touch_by_two_threads"),
]


def main() -> int:
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(word in m[0] for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        for part in ("src", "loom-tests/src", "loom-tests/tests"):
            shutil.copytree(ROOT / part, tree / part)
        for part in ("Cargo.toml", "Cargo.lock", "loom-tests/Cargo.toml", "loom-tests/Cargo.lock"):
            shutil.copy(ROOT / part, tree / part)
        # Targets that the copy has not got.
        manifest = (tree / "Cargo.toml").read_text().split("[[bench]]")[0]
        (tree / "Cargo.toml").write_text(manifest)
        env = os.environ | {
            "RUSTFLAGS": "--cfg sluicegate_loom",
            "CARGO_TARGET_DIR": str(ROOT / "loom-tests/target/mutants"),
        }
        for name, file, line, broken, model in chosen:
            text = (ROOT / file).read_text()
            if text.count(line) != 1:
                survivors.append(f"{name}: its line occurs {text.count(line)} times in {file}")
                continue
            (tree / file).write_text(text.replace(line, broken))
            command = ["cargo", "test", "--quiet", "--tests", "--no-fail-fast", "--", model]
            caught = build = None
            build = subprocess.run(
                ["cargo", "test", "--quiet", "--tests", "--no-run"],
                cwd=tree / "loom-tests", env=env, capture_output=True, text=True, check=False)
            if build.returncode != 0:
                survivors.append(f"{name}: does not compile\n{build.stderr[-800:]}")
            else:
                try:
                    run = subprocess.run(command, cwd=tree / "loom-tests", env=env,
                                         capture_output=True, check=False, timeout=240)
                    caught = run.returncode != 0
                except subprocess.TimeoutExpired:
                    caught = False
                if not caught:
                    survivors.append(f"{name}: {model} does not fail")
                print(f"{'caught  ' if caught else 'SURVIVED'} {name} ({model})", flush=True)
            (tree / file).write_text(text)
    for survivor in survivors:
        print(survivor, file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
