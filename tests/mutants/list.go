package main

// mutant is one guard taken out of the code, and the tests that have to notice.
type mutant struct {
	Guard string // what the code promises while the guard stands
	File  string // from the top of the repository
	Old   string // stands in the file exactly once
	New   string
	Tests string // packages, separated by spaces
	Run   string // which of their tests; empty: all
}

// mutants are grouped by what they protect. The tests named beside each are the
// narrowest that should notice, so that the whole list takes minutes.
var mutants = []mutant{
	// Fencing: who may report, and who holds what.
	{
		"a report about an attempt that is over changes nothing", "domain/jobs/report.go",
		"a.Number != attempt || ", "", "./domain/jobs ./application/jobs", "",
	},
	{
		"a report of a host that does not hold the attempt changes nothing", "domain/jobs/report.go",
		"a.Host != host || ", "", "./domain/jobs ./application/jobs", "",
	},
	{
		"a device has one active attempt, on SQLite", "adapters/bunstore/migrations/sqlite/00003_jobs.sql",
		"CREATE UNIQUE INDEX attempt_devices_active", "CREATE INDEX attempt_devices_active", "./tests/contract", "TestStorage/Jobs_in",
	},
	{
		"a device has one active attempt, on Postgres", "adapters/bunstore/migrations/postgres/00003_jobs.sql",
		"CREATE UNIQUE INDEX attempt_devices_active", "CREATE INDEX attempt_devices_active", "./tests/contract", "TestStorage/Jobs_in",
	},
	{
		"a device has one active attempt, in memory", "adapters/memory/jobs.go",
		"held && holder != next.ID", "held && holder != next.ID && false", "./tests/contract", "TestStorage/Jobs_in",
	},
	{
		"a session that a newer one fenced cannot report an inventory", "application/hosts/session.go",
		"h.Snapshot().Epoch != x.Epoch", "false", "./application/hosts", "",
	},
	{
		"an assertion is good once, at all replicas together", "application/hosts/service.go",
		"if !first {", "if !first && false {", "./application/hosts", "",
	},
	{
		"a hello that the host's key has not signed opens no session", "application/hosts/session.go",
		"!hello.Signed(before.PublicKey)", "false", "./adapters/gateway", "",
	},
	{
		"a key that two machines use is suspended", "application/hosts/session.go",
		`"takeover:"+who.Host.String()`, `"takeover:"+s.IDs.New().String()`, "./application/hosts", "",
	},
	{
		"a container writes into a file system of its own", "agent/runtime/docker_folders_linux.go",
		"size > 0 && (why == nil || errors.Is(why, errNoRoom))", "false && why == nil", "./tests/contract", "QuickerThanTheWatch",
	},
	{
		"the file system of a job goes with the folder above it", "agent/runtime/folder_linux.go",
		"mount.RecursiveUnmount(filepath.Join(above, filepath.Base(dir)))", "errors.New(above)", "./tests/contract", "QuickerThanTheWatch",
	},
	{
		"a newer session of a host closes the older one", "adapters/gateway/gateway.go",
		"older.Epoch > s.Epoch", "older.Epoch < s.Epoch", "./tests/contract ./adapters/gateway ./tests/api", "",
	},
	{
		"two writers of one job do not overwrite each other, on SQL", "adapters/bunstore/jobs.go",
		`WherePK().Where("version = ?", old.Version)`, `WherePK()`, "./tests/contract", "TestStorage/Jobs_in",
	},

	{
		"reruns at the same time have versions of their own, on SQLite", "adapters/bunstore/migrations/sqlite/00008_versions.sql",
		"CREATE UNIQUE INDEX", "CREATE INDEX", "./tests/contract", "TestStorage/Jobs_in",
	},
	{
		"reruns at the same time have versions of their own, on Postgres", "adapters/bunstore/migrations/postgres/00008_versions.sql",
		"CREATE UNIQUE INDEX", "CREATE INDEX", "./tests/contract", "TestStorage/Jobs_in",
	},
	{
		"an agent's lease counts from its heartbeat, not from the answer", "agent/daemon/lease.go",
		"d.renewed(sent, 0)", "d.renewed(d.clock.Boot(), 0)", "./agent/daemon", "ALeaseCounts",
	},
	{
		"a server's clock that is set loses no host", "application/jobs/schedule.go",
		"last.Before(s.jumped) || ", "", "./application/jobs", "ASetClock",
	},
	{
		"a socket ends with the token that opened it", "application/identity/tokens.go",
		" && t.Usable(s.Clock.Now())", "", "./adapters/gateway", "ASocketEnds",
	},

	// Logs and results: what is shown is what was produced.
	{
		"results that a host lists have come, with their size and sum", "application/jobs/report.go",
		`case missing(r.Files, results) != "":`, `case missing(r.Files, results) == "-":`, "./application/jobs", "AHostThatLists",
	},
	{
		"log bytes are stored at their offset and nowhere else", "adapters/bunstore/logs.go",
		`AND "+present+" = ?"`, `AND "+present+" >= ?"`, "./tests/contract", "TestStorage/Logs_in",
	},
	{
		"log bytes of a host that does not hold the attempt are not stored, on SQL", "adapters/bunstore/logs.go",
		" AND host = ? AND active", " AND (host = ? OR active)", "./tests/contract", "TestStorage/Logs_in",
	},
	{
		"log bytes of an attempt that is over are not stored, on SQL", "adapters/bunstore/logs.go",
		" AND host = ? AND active", " AND host = ?", "./tests/contract", "TestStorage/Logs_in",
	},
	{
		"log bytes of a host that does not hold the attempt are not shown", "application/jobs/books.go",
		"if b.host != who.Host {", "if b.host != who.Host && false {", "./application/jobs ./adapters/gateway ./tests/api", "",
	},
	{
		"log bytes that leave a hole are asked for again", "application/jobs/books.go",
		"case offset > size:", "case false:", "./application/jobs", "",
	},
	{
		"log bytes that were sent twice are taken once", "application/jobs/books.go",
		"case offset+int64(len(data)) <= size:", "case false:", "./application/jobs", "",
	},
	{
		"a log that is not the one that was sent fails the attempt", "application/jobs/report.go",
		"(r.LogBytes > 0 && sum != r.LogSHA256)", "false", "./application/jobs", "",
	},
	{
		"a result whose bytes are not those announced stays invisible", "application/jobs/artifacts.go",
		"info.SHA256 != a.SHA256 {\n\t\t\ts.forget", "false {\n\t\t\ts.forget", "./application/jobs", "",
	},
	{
		"an attempt that is over cannot upload", "application/jobs/artifacts.go",
		"if err := s.mayDeliver(ctx, who, ref); err != nil {\n\t\treturn nil, err\n\t}\n", "", "./application/jobs", "",
	},
	{
		"results of a job that is being cancelled are not taken", "application/jobs/artifacts.go",
		"j.State == jobs.Cancelling {\n\t\t// Not", "j.State == jobs.Cancelling && false {\n\t\t// Not", "./application/jobs", "",
	},

	// Money.
	{
		"a ledger key is posted once", "adapters/bunstore/posting.go",
		"if known, ok := g.known[t.Key]; ok {", "if known, ok := g.known[t.Key]; ok && false {", "./tests/contract", "TestStorage/Ledger_in",
	},
	{
		"the ledger's table refuses a second row with a key", "adapters/bunstore/migrations/postgres/00004_billing.sql",
		"CREATE UNIQUE INDEX ledger_txs_key", "CREATE INDEX ledger_txs_key", "./adapters/bunstore ./tests/contract", "TestStorage/Ledger_in|Post",
	},
	{
		"a wallet never goes below zero", "adapters/bunstore/posting.go",
		"if after < 0 {", "if after < -1<<60 {", "./tests/contract", "TestStorage/Ledger_in",
	},
	{
		"the bill is not longer than what the agent measured", "domain/jobs/attempt.go",
		"ran = min(ran, a.AgentRan)", "ran = max(ran, a.AgentRan)", "./domain/jobs", "",
	},
	{
		"the bill is not longer than what was promised", "domain/jobs/attempt.go",
		"min(ran, a.MaxRuntime)", "ran", "./domain/jobs", "",
	},
	{
		"the third loss fails a job", "domain/jobs/report.go",
		"j.s.Losses >= MaxLosses", "j.s.Losses > MaxLosses", "./domain/jobs ./application/jobs", "",
	},
	{
		"hosts that all fall silent at once keep their jobs", "application/jobs/schedule.go",
		"len(lost) >= breakerHosts && ", "false && len(lost) >= breakerHosts && ", "./application/jobs", "",
	},

	// Trust: what an agent obeys.
	{
		"a manifest for another host is refused", "agent/daemon/trust.go",
		"case s.aud != host:", "case false:", "./agent/daemon", "",
	},
	{
		"a manifest that expired is refused", "agent/daemon/trust.go",
		"case time.Unix(s.exp, 0).Add(leeway).Before(now):", "case false:", "./agent/daemon", "",
	},
	{
		"a manifest is obeyed once", "agent/daemon/offer.go",
		`if why := d.journal.replayed(key, c.JTI); why != "" {`, `if why := d.journal.replayed(key, c.JTI); why != "" && false {`, "./agent/daemon", "",
	},
	{
		"a host that lost the server stops its jobs first", "agent/daemon/lease.go",
		"return now >= l.renewed+limit-fenceMargin(limit)", "return now >= l.renewed+limit+fenceMargin(limit)", "./agent/daemon", "",
	},

	// Images: what is run is what was named, and asking for it leads nowhere else.
	{
		"a registry leads to no address inside", "adapters/registries/resolver.go",
		"if list.isOwn(address) {", "if address != \"\" {", "./tests/contract", "ARegistryLeads",
	},
	{
		"a registry redirects three times at most", "adapters/registries/resolver.go",
		"len(via) > redirects", "len(via) > 2*redirects", "./tests/contract", "ARegistryLeads",
	},
	{
		"a job that is run again has the image of before", "application/jobs/submit.go",
		"rerun.Spec.Named() == named", "rerun.Spec.Named() == \"\"", "./application/jobs", "AnImageIsPinned",
	},
	{
		"an image that cannot be fetched is said to be that", "agent/runtime/pull_linux.go",
		`"pull %s: %w: %w", ref, daemon.ErrFetch, err)`, `"pull %s: %w", ref, err)`, "./tests/contract", "AnImageThatCannot",
	},
	{
		"a path is shown as what it is", "domain/jobs/spec.go",
		"!strings.ContainsFunc(p, unpresentable)", "!strings.ContainsFunc(p, unicode.IsControl)", "./domain/jobs", "LocalPaths",
	},
	{
		"a name can be seen", "domain/jobs/spec.go",
		"!strings.ContainsFunc(s.Name, visible) && !", "s.Name == \"\" && !", "./domain/jobs", "ANameCan",
	},
	{
		"what takes its owner's jobs alone is not counted on the market", "application/hosts/stats.go",
		"o.Host.Facts.OwnerOnly()", "false", "./application/hosts", "TheMarketInNumbers",
	},
	{
		"an administrator's own list is theirs", "adapters/httpapi/auth.go",
		"who.Roles = nil", "_ = who.Roles", "./tests/api", "AdministratorsSee",
	},

	// Replicas.
	{
		"devices that were given back are not taken by older news", "application/jobs/moves.go",
		"!taken && !over", "!taken && (!over || true)", "./application/jobs", "",
	},
	{
		"messages that did not come are told", "adapters/redislive/live.go",
		"w.late = true // it is told once its messages come again", "", "./adapters/redislive", "",
	},
	{
		"an event that Redis lost is an error", "adapters/eventbus/redis.go",
		"err == nil && !there", "err == nil && !there && false", "./tests/contract", "ThatRedisForgot",
	},

	// Accounts.
	{
		"an upload to an object storage is bound to its sum", "adapters/cloudblob/s3.go",
		"sum := checksum(p.SHA256)", "sum := checksum(p.SHA256)[:0]", "./adapters/cloudblob ./tests/contract", "AnUpload|TestBlobs/object",
	},
	{
		"an object of an object storage does not change", "adapters/cloudblob/s3.go",
		`octets, "*"`, `octets, ""`, "./adapters/cloudblob", "OfTwoReplicas",
	},
	{
		"an image of the operator's stays what it was, on SQL", "adapters/bunstore/pins.go",
		`On("CONFLICT (image) DO NOTHING")`, `On("CONFLICT (image) DO UPDATE SET digest = EXCLUDED.digest")`, "./tests/contract", "TestStorage/Pins_in",
	},
	{
		"what is printed while an agent is replaced is left to the next", "agent/daemon/attempt.go",
		"if err != nil && a.d.handedOver.Err() == nil {", "if err != nil {", "./agent/daemon", "WhatIsPrintedWhile",
	},
	{
		"a pull that brings nothing is given up", "agent/runtime/pull_linux.go",
		"func() { giveUp(stalled) }", "func() {}", "./tests/contract", "TestAPullThatGoesWrong",
	},
	{
		"somebody else's job is not there", "application/jobs/service.go",
		"owner, _ := who.Owner()\n\treturn s.Jobs.Get(ctx, id, owner)", "return s.Jobs.Get(ctx, id, domain.ID{})", "./tests/api ./application/jobs", "",
	},
	{
		"a ticket opens one WebSocket", "application/identity/tokens.go",
		"!first || ", "!first && false || ", "./application/identity ./tests/api", "",
	},
	{
		"a ticket opens what it was made for", "application/identity/tokens.go",
		"t.Resource != resource || ", "", "./application/identity ./tests/api", "",
	},
	{
		"a token that was revoked or expired opens nothing", "application/identity/tokens.go",
		"if !t.Usable(now) {", "if false {", "./application/identity", "",
	},
}
