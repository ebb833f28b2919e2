package market

import (
	"archive/zip"
	"bytes"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	app "github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/billing"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Password is everybody's.
const Password = "not-a-common-one"

// Dollar is a unit of the currency.
const Dollar domain.Micros = 1_000_000

// Person registers somebody, signs them in, and buys them credit.
func (m *Market) Person(name string, credit domain.Micros) domain.Actor {
	m.t.Helper()
	ctx := m.t.Context()
	_, err := m.Identity.Register(ctx, identity.Client{}, identity.SignUp{
		Email: name + "@example.org", Password: Password, Name: name, AcceptedTerms: true,
	})
	require.NoError(m.t, err)
	who := m.SignIn(name)
	if credit > 0 {
		_, err = m.Billing.TopUp(ctx, who, "first", credit)
		require.NoError(m.t, err)
	}
	return who
}

// SignIn gives the actor of a new session.
func (m *Market) SignIn(name string) domain.Actor {
	m.t.Helper()
	in, err := m.Identity.Login(m.t.Context(), identity.Client{}, name+"@example.org", Password)
	require.NoError(m.t, err)
	who, err := m.Identity.Authenticate(m.t.Context(), in.Access)
	require.NoError(m.t, err)
	return who
}

// Admin is somebody who administers.
func (m *Market) Admin(name string) domain.Actor {
	m.t.Helper()
	m.Person(name, 0)
	_, err := m.Identity.Grant(m.t.Context(), domain.System(), name+"@example.org", domain.RoleAdmin)
	require.NoError(m.t, err)
	return m.SignIn(name)
}

// Balance is the money of somebody.
func (m *Market) Balance(who domain.Actor) app.Balance {
	m.t.Helper()
	b, err := m.Billing.Account(m.t.Context(), who)
	require.NoError(m.t, err)
	return b
}

// Earned is what the platform has of the fees.
func (m *Market) Earned() domain.Micros {
	m.t.Helper()
	b, err := m.Store.Ledger().Balances(m.t.Context(), billing.PlatformFee)
	require.NoError(m.t, err)
	return b[billing.PlatformFee]
}

// Audit checks what is true of the books at any time: everything sums to zero, and in
// every transaction.
func (m *Market) Audit() {
	m.t.Helper()
	total, err := m.Store.Ledger().Total(m.t.Context())
	require.NoError(m.t, err)
	for currency, sum := range total {
		require.Zero(m.t, sum, currency)
	}
	txs, err := m.Store.Ledger().List(m.t.Context(), ports.LedgerFilter{}, ports.Page{Limit: 10_000})
	require.NoError(m.t, err)
	for _, tx := range txs {
		require.NoError(m.t, tx.Check())
	}
}

// Spec is a job that any host of Host runs for at most an hour.
func Spec(command ...string) domainjobs.Spec {
	if len(command) == 0 {
		command = []string{"echo", "hello"}
	}
	return domainjobs.Spec{Command: command}.WithDefaults()
}

// Submit submits a job that has to be taken.
func (m *Market) Submit(who domain.Actor, spec domainjobs.Spec) domainjobs.Snapshot {
	m.t.Helper()
	got, err := m.Jobs.Submit(m.t.Context(), who, jobs.Submission{Spec: spec})
	require.NoError(m.t, err)
	return got.Job
}

// Job is how a job stands, in storage.
func (m *Market) Job(id domain.ID) domainjobs.Snapshot {
	m.t.Helper()
	j, err := m.Store.Jobs().Get(m.t.Context(), id, domain.ID{})
	require.NoError(m.t, err)
	return j
}

// Timeline is what happened to a job: the types of its events.
func (m *Market) Timeline(id domain.ID) []string {
	m.t.Helper()
	events, err := m.Store.Jobs().Events(m.t.Context(), id, 0, 1000)
	require.NoError(m.t, err)
	types := make([]string, len(events))
	for i, e := range events {
		types[i] = e.Type
	}
	return types
}

// Cost is what the formula gives for a run.
func Cost(price domain.Micros, gpus int, ran time.Duration) domain.Micros {
	return domain.Cost(price, gpus, ran.Milliseconds())
}

// Zip packs files, by name.
func Zip(files map[string]string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			panic("a ZIP in memory cannot fail: " + strconv.Quote(err.Error()))
		}
	}
	if err := z.Close(); err != nil {
		panic("a ZIP in memory cannot fail: " + strconv.Quote(err.Error()))
	}
	return b.Bytes()
}
