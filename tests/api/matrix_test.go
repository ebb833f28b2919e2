package api_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

// The columns of the authorization matrix: who asks.
const (
	anonymous   = "anonymous"
	otherRenter = "other renter"
	otherHost   = "other host owner"
	owner       = "owner"
	admin       = "admin"
	anyToken    = "owner's token with every scope"
	noScope     = "owner's token without the scope"
	noRole      = "owner without the role"
	agentToken  = "agent"
	stale       = "signed-out owner"
)

var columns = []string{anonymous, otherRenter, otherHost, owner, admin, anyToken, noScope, noRole, agentToken, stale}

// row is an operation of the matrix: whose thing is asked for, how, and what each
// column is answered.
type row struct {
	host   bool // the owner of the thing is the host's, not the renter
	path   func(w *world) map[string]string
	ask    func(w *world, column string) ask // method and path are filled in
	others int                               // other accounts
	owner  int
	admin  int
}

// What a class of operations answers.
func public(status int) row  { return row{others: status, owner: status, admin: status} }
func own(status int) row     { return row{others: status, owner: status, admin: status} }
func private(status int) row { return row{others: 404, owner: status, admin: status} }
func alone(status int) row   { return row{others: 404, owner: status, admin: 404} } // not even admins

func (r row) of(path func(w *world) map[string]string) row { r.path = path; return r }
func (r row) body(b any) row {
	r.ask = func(*world, string) ask { return ask{body: b} }
	return r
}
func (r row) asks(a func(w *world, column string) ask) row { r.ask = a; return r }
func (r row) hosts() row                                   { r.host = true; return r }

var (
	theJob   = func(w *world) map[string]string { return map[string]string{"id": w.job, "job_id": w.job} }
	theDone  = func(w *world) map[string]string { return map[string]string{"id": w.done, "artifact": w.artifact} }
	theHost  = func(w *world) map[string]string { return map[string]string{"id": w.host, "device": w.device} }
	someBlob = func(*world) map[string]string { return map[string]string{"token": "e30.e30"} }
	once     = func(*world, string) ask {
		return ask{body: map[string]any{"amount_micros": 10_000_000}, header: http.Header{"Idempotency-Key": {"k"}}}
	}
	asProgram = func(w *world, column string) ask {
		if column == owner {
			return ask{header: cookie(program, w.cookie)}
		}
		return ask{header: program}
	}
)

// matrix has a row for every operation of the document.
var matrix = map[string]row{
	"getAuthProviders": public(200),

	"register":       public(201).body(map[string]any{"email": "new@example.org", "password": market.Password, "name": "N", "accepted_terms": true}),
	"login":          public(200).body(map[string]any{"email": "ada@example.org", "password": market.Password}),
	"refreshSession": row{others: 401, owner: 200, admin: 401}.asks(asProgram),
	"logout":         public(204).asks(asProgram),

	"getMe": own(200), "updateMe": own(200).body(map[string]any{"name": "N"}),
	"listTokens": own(200), "createToken": own(201).body(map[string]any{"name": "n", "scopes": []string{"jobs:read"}}),
	"deleteToken":    alone(204).of(func(w *world) map[string]string { return map[string]string{"id": w.token} }),
	"createWSTicket": private(201).asks(func(w *world, _ string) ask { return ask{body: map[string]any{"job_id": w.job}} }),

	"createEnrollmentToken": own(201).hosts(), "listHosts": own(200).hosts(),
	"getHost": private(200).of(theHost).hosts(), "updateHost": private(200).of(theHost).hosts().body(map[string]any{"region": "x"}),
	"deleteHost":   private(204).of(theHost).hosts(),
	"updateDevice": private(200).of(theHost).hosts().body(map[string]any{"price_micros": 5}),
	"listHostJobs": private(200).of(theHost).hosts(), "getHostTelemetry": private(200).of(theHost).hosts(),
	"getHostEarnings": private(200).of(theHost).hosts(), "getEarnings": own(200).hosts(),
	"registerHost": public(201).asks(func(w *world, _ string) ask {
		body, _ := enrolment(w.t, w.enrollmentToken(w.session["bob"]))
		return ask{body: body}
	}),
	"createAgentToken": public(200).asks(func(w *world, _ string) ask {
		return ask{body: map[string]any{
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
			"client_assertion":      w.machine.Assertion("of-the-matrix-row", w.Clock.Now()),
		}}
	}),
	"getAgentKeys": public(200),

	"listOffers": public(200), "getMarketStats": public(200), "listGPUModels": public(200), "getMarketHost": public(200).of(theHost),

	"listJobs": own(200), "createJob": own(201).body(echoJob(nil)), "estimateJob": own(200).body(map[string]any{}),
	"getJob": private(200).of(theJob), "cancelJob": private(200).of(theJob), "listJobEvents": private(200).of(theJob),
	"getJobLogs": private(200).of(theJob), "getJobStatement": private(200).of(theJob),
	"rerunJob": alone(201).of(theJob), "submitJob": alone(200).of(theJob),
	"createLogLink": private(201).of(theDone), "listArtifacts": private(200).of(theDone), "getArtifact": private(302).of(theDone),
	"createArtifactLink": private(201).of(theDone), "getArtifactsZip": private(200).of(theDone), "createArtifactsZipLink": private(201).of(theDone),

	"getBillingAccount": own(200), "createTopUp": own(201).asks(once), "listLedger": own(200), "listStatements": own(200),

	// Whoever may open a socket is told that this is no attempt to.
	"watchJob": private(400).of(theJob), "watchMe": own(400), "connectAgent": {others: 401, owner: 401, admin: 401},

	"putBlob": public(403).of(someBlob).asks(func(*world, string) ask {
		return ask{body: "x", header: http.Header{"Content-Type": {"application/zip"}}}
	}),
	"getBlob": public(403).of(someBlob), "getHealth": public(200), "getReadiness": public(200),
	"getOpenAPI": public(200), "getDocs": public(200),
	"getDocsFile": public(200).of(func(*world) map[string]string { return map[string]string{"file": "docs.js"} }),
}

// want is the cell of a column.
func (r row) want(op *openapi3.Operation, column string) int {
	id := op.OperationID
	scope, role := op.Extensions[openapi.ExtScope], op.Extensions[openapi.ExtRole]
	switch {
	case id == "connectAgent" && column == agentToken:
		return 400
	case id == "refreshSession" && column != owner, op.Security != nil && len(*op.Security) == 0, id == "logout":
		return r.others // no bearer counts here
	}
	switch column {
	case anonymous, agentToken, stale:
		return 401
	case otherRenter, otherHost:
		return r.others
	case admin:
		return r.admin
	case anyToken:
		if op.Extensions[openapi.ExtSessionOnly] != nil {
			return 403
		}
	case noScope:
		if scope != nil && id != "connectAgent" {
			return 403
		}
	case noRole:
		if role != nil {
			return 403
		}
	}
	return r.owner
}

// world is a marketplace with something of everything.
type world struct {
	*site
	session             map[string]string
	cookie              *http.Cookie
	machine             *market.Host
	host, device        string
	job, done, artifact string // done has results, job runs
	token               string // the id of one of ada's
	agent               string
}

// build makes ada's jobs on bob's host, among strangers.
func build(t *testing.T) *world {
	t.Helper()
	w := &world{site: open(t), session: map[string]string{}}
	actors := map[string]domain.Actor{}
	for _, name := range []string{"ada", "bob", "eve", "mallory"} {
		actors[name], w.session[name] = w.person(name, 10*market.Dollar)
	}
	root := w.Admin("root")
	_, err := w.Billing.TopUp(t.Context(), root, "first", 10*market.Dollar)
	require.NoError(t, err)
	w.session["root"] = w.signIn("root")
	w.cookie = w.login()
	w.machine = w.Host(actors["bob"], market.Machine{GPUs: 8})
	w.Host(actors["mallory"], market.Machine{Name: "other", Price: 10 * market.DefaultPrice})
	var host api.Host
	w.host = w.machine.ID.Prefixed("hst")
	w.do(ask{method: "GET", path: "/api/hosts/" + w.host, token: w.session["bob"]}).json(t, 200, &host)
	w.device = host.Devices[0].ID
	w.agent = w.agentToken(w.machine.Assertion("of-the-matrix-world", w.Clock.Now()), 200)

	w.done = w.submit(w.session["ada"], echoJob(nil)).ID
	a := w.machine.Take()
	a.Start()
	a.Print("x")
	a.Exit(0)
	a.Upload("outputs/x", "x")
	a.Finish()
	w.job = w.submit(w.session["ada"], echoJob(map[string]any{"limits": map[string]any{"max_runtime_s": 3600}})).ID
	w.machine.Take().Start()
	synctest.Wait()
	var files api.ArtifactList
	w.do(ask{method: "GET", path: "/api/jobs/" + w.done + "/artifacts", token: w.session["ada"]}).json(t, 200, &files)
	w.artifact = files.Items[0].ID
	var made api.NewToken
	w.do(ask{method: "POST", path: "/api/tokens", token: w.session["ada"], body: map[string]any{"name": "n", "scopes": []string{"jobs:read"}}}).json(t, 201, &made)
	w.token = made.ID
	return w
}

// credential is what a column sends.
func (w *world) credential(t *testing.T, op *openapi3.Operation, r row, column string) string {
	t.Helper()
	name := "ada"
	if r.host {
		name = "bob"
	}
	switch column {
	case otherRenter:
		return w.session["eve"]
	case otherHost:
		return w.session["mallory"]
	case owner:
		return w.session[name]
	case admin:
		return w.session["root"]
	case agentToken:
		return w.agent
	case anyToken, noScope:
		var scopes []string
		for _, s := range domain.AllScopes {
			if column == anyToken || string(s) != op.Extensions[openapi.ExtScope] {
				scopes = append(scopes, string(s))
			}
		}
		return w.pat(w.session[name], scopes...)
	case noRole:
		who := w.SignIn(name)
		roles := slices.DeleteFunc(slices.Clone(who.Roles), func(r domain.Role) bool { return string(r) == op.Extensions[openapi.ExtRole] })
		token, err := w.Tokens.Issue(ports.AudienceAPI, ports.Claims{Subject: who.User, Session: who.Session, Roles: roles, Expires: w.Clock.Now().Add(time.Minute)})
		require.NoError(t, err)
		return token
	case stale:
		got := w.do(ask{method: "POST", path: "/api/auth/login", body: map[string]any{"email": name + "@example.org", "password": market.Password}})
		var session api.Session
		got.json(t, 200, &session)
		require.Equal(t, 204, w.do(ask{method: "POST", path: "/api/auth/logout", header: cookie(program, got.Cookies()[0])}).StatusCode)
		return session.AccessToken
	}
	return ""
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	spec, err := openapi.Spec()
	require.NoError(t, err)
	seen := map[string]bool{}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			id := op.OperationID
			r, ok := matrix[id]
			if !assert.True(t, ok, "the operation %s has no row", id) {
				continue
			}
			seen[id] = true
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				for _, together := range r.worlds(method, op) {
					synctest.Test(t, func(t *testing.T) {
						w := build(t)
						for _, column := range together {
							check(t, w, method, path, op, r, column)
						}
					})
				}
			})
		}
	}
	for id := range maps.Keys(matrix) {
		assert.True(t, seen[id], "there is no operation %s any more", id)
	}
}

// worlds puts those columns together whose requests change nothing: reads, and what is
// refused. Each of the others needs a world of its own, because some end things.
func (r row) worlds(method string, op *openapi3.Operation) [][]string {
	var harmless []string
	var each [][]string
	for _, column := range columns {
		if method == http.MethodGet || r.want(op, column) >= 400 {
			harmless = append(harmless, column)
		} else {
			each = append(each, []string{column})
		}
	}
	return append(each, harmless)
}

// check asks as one column.
func check(t *testing.T, w *world, method, path string, op *openapi3.Operation, r row, column string) {
	t.Helper()
	a := ask{}
	if r.ask != nil {
		a = r.ask(w, column)
	}
	a.method, a.path, a.token = method, path, w.credential(t, op, r, column)
	if r.path != nil {
		for name, value := range r.path(w) {
			a.path = strings.ReplaceAll(a.path, "{"+name+"}", value)
		}
	}
	got := w.do(a)
	assert.Equal(t, r.want(op, column), got.StatusCode, "%s: %s", column, got.Body)
	if column != otherRenter && column != otherHost || op.Security != nil && len(*op.Security) == 0 {
		return
	}
	theirs := []string{w.job, w.done, w.artifact, w.token, "ada@example.org", "bob@example.org"}
	if op.OperationID != "estimateJob" && op.OperationID != "createJob" { // which may lead to the same host
		theirs = append(theirs, w.host)
	}
	for _, id := range theirs {
		assert.NotContains(t, string(got.Body), id, "%s learns of what is others'", column)
	}
}

func TestBothSidesSeeTheMoneyOfTheirJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t)
		path := "/api/jobs/" + w.done + "/statement"
		var renter, host, root api.Statement
		w.do(ask{method: "GET", path: path, token: w.session["ada"]}).json(t, 200, &renter)
		w.do(ask{method: "GET", path: path, token: w.session["bob"]}).json(t, 200, &host)
		w.do(ask{method: "GET", path: path, token: w.session["root"]}).json(t, 200, &root)
		assert.Equal(t, renter, host)
		assert.Equal(t, renter, root)
		w.do(ask{method: "GET", path: "/api/jobs/" + w.done, token: w.session["bob"]}).problem(t, 404, "not_found")
	})
}

func TestAdministratorsSeeEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t)
		var jobs api.JobList
		w.do(ask{method: "GET", path: "/api/jobs", token: w.session["root"]}).json(t, 200, &jobs)
		assert.Len(t, jobs.Items, 2)
		var hosts api.HostList
		w.do(ask{method: "GET", path: "/api/hosts?limit=1", token: w.session["root"]}).json(t, 200, &hosts)
		assert.Len(t, hosts.Items, 1)
		var last api.HostList
		w.do(ask{method: "GET", path: "/api/hosts?limit=1&after=" + hosts.Next, token: w.session["root"]}).json(t, 200, &last)
		assert.Len(t, last.Items, 1)
		assert.Empty(t, last.Next)
		var own api.JobList
		w.do(ask{method: "GET", path: "/api/jobs?mine=true", token: w.session["root"]}).json(t, 200, &own)
		assert.Empty(t, own.Items, "of what is not theirs, too, but not where they ask for their own")
		w.do(ask{method: "GET", path: "/api/jobs?mine=true", token: w.session["ada"]}).json(t, 200, &own)
		assert.NotEmpty(t, own.Items)
		w.do(ask{method: "GET", path: "/api/hosts?mine=true", token: w.session["root"]}).json(t, 200, &last)
		assert.Empty(t, last.Items)
		w.do(ask{method: "POST", path: "/api/jobs/" + w.job + "/cancel", token: w.session["root"]})
		assert.Equal(t, "cancelled_by_admin", w.site.job(w.session["ada"], w.job).Reason)
	})
}
