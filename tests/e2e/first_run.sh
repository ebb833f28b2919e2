#!/usr/bin/env bash
# The first start of a newcomer, and the second: a clean clone, an empty HOME and empty
# module caches. It checks what make run promises, and prints what it saw.
set -euo pipefail

root=$(git rev-parse --show-toplevel)
port=${PORT:-18080}
url=http://127.0.0.1:$port
work=$(mktemp -d)
server=
cleanup() {
	status=$?
	[ -z "$server" ] || kill -9 "$server" 2> /dev/null || true
	chmod -R u+w "$work" 2> /dev/null || true # the module cache is read-only
	rm -rf "$work"
	[ "$status" = 0 ] || echo "first-run: FAILED" >&2
	exit "$status"
}
trap cleanup EXIT

say() { echo "first-run: $*"; }
fail() {
	say "$*" >&2
	[ ! -s "$work/out" ] || sed 's/^/    /' "$work/out" >&2
	exit 1
}
now() { date +%s%N; }

# Tracked files as they are, so that a change can be tried before it is committed.
mkdir -p "$work/home" "$work/clone"
(cd "$root" && git ls-files -z | xargs -0 cp --parents -t "$work/clone" 2> /dev/null) || fail "the tree cannot be copied"

# begin runs make run as a newcomer would, and waits until it is ready.
begin() {
	: > "$work/out"
	(
		cd "$work/clone"
		exec env -u GOMODCACHE -u GOCACHE -u GOPATH -u XDG_CACHE_HOME -u XDG_CONFIG_HOME HOME="$work/home" \
			PEERGPU_LISTEN=127.0.0.1:"$port" make run
	) > "$work/out" 2>&1 &
	maker=$!
	started=$(now)
	until curl -fsS -o "$work/ready" "$url/readyz" 2> /dev/null; do
		kill -0 "$maker" 2> /dev/null || fail "make run ended before it was ready"
		[ $(($(now) - started)) -lt "$1" ] || fail "not ready in time"
		sleep 0.1
	done
	server=$(pgrep -f "^bin/peergpu demo" -n || true)
	[ -n "$server" ] || fail "no server process"
	if node "$root/web/build/node-version.mjs" 2> /dev/null; then
		curl -fsS "$url/jobs/job_0" | grep -q 'id="root"' || fail "no web app at $url"
	fi
	ready=$(($(now) - started))
}

# finish waits for the line that ends the example's report.
finish() {
	started=$(now)
	until grep -q '^host got' "$work/out" && grep -q 'Ctrl-C stops everything' "$work/out"; do
		kill -0 "$maker" 2> /dev/null || fail "make run ended before the job did"
		[ $(($(now) - started)) -lt 180000000000 ] || fail "the example job does not end"
		sleep 0.2
	done
}

# end presses Ctrl-C and wants exit 0 and nothing left.
end() {
	started=$(now)
	kill -INT "$server"
	code=0
	wait "$maker" || code=$?
	server=
	took=$((($(now) - started) / 1000000))
	[ "$code" = 0 ] || fail "Ctrl-C gave exit code $code"
	[ "$took" -lt 30000 ] || fail "stopping took $took ms"
	if pgrep -af "$work/clone" > "$work/left"; then
		fail "processes are left: $(cat "$work/left")"
	fi
	say "Ctrl-C: exit 0 after $took ms, nothing left"
}

begin 1500000000000
say "first start: ready after $((ready / 1000000)) ms, everything compiled from nothing"
finish
python3 "$root/tests/e2e/first_run.py" "$url" "$work/clone/data/peergpu.db" || fail "the example is not settled as it should be"
end
begin 60000000000
say "second start: ready after $((ready / 1000000)) ms"
[ "$ready" -lt 5000000000 ] || fail "the second start took more than 5 s"
finish
python3 "$root/tests/e2e/first_run.py" "$url" "$work/clone/data/peergpu.db" 2 || fail "the second run is not settled as it should be"
end
say "passed"
