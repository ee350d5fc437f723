package lab

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	quota   = 5000 // requests an hour for a user's tokens (docs)
	docsURL = "https://docs.github.com/rest"
	// classicScopes are the scopes of the lab's token.
	classicScopes = "admin:org, manage_runners:enterprise, repo"
)

// restRoutes serves GitHub's REST API: the runner endpoints of repositories, organizations and
// enterprises, /rate_limit and /user. All pass through apiRules.
func (g *GitHub) restRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, scope := range []struct{ prefix, accepts string }{
		{"/repos/{owner}/{repo}", "repo"},
		{"/orgs/{owner}", "admin:org"},
		{"/enterprises/{owner}", "manage_runners:enterprise"},
	} {
		base := scope.prefix + "/actions/runners"
		handle := func(pattern string, h restHandler) { mux.Handle(pattern, g.apiRules(scope.accepts, g.scoped(h))) }
		handle("GET "+base, g.listRunners)
		handle("GET "+base+"/{id}", g.getRunner)
		handle("DELETE "+base+"/{id}", g.deleteRunner)
		handle("POST "+base+"/registration-token", token)
		handle("POST "+base+"/remove-token", token)
		handle("POST "+base+"/generate-jitconfig", g.jitConfig)
	}
	mux.Handle("GET /rate_limit", g.apiRules("", g.rateLimit))
	mux.Handle("GET /user", g.apiRules("", func(*http.Request) reply {
		login := g.opts.Owner
		if login == "" {
			login = "lab"
		}
		return reply{200, map[string]any{"login": login, "id": 1, "type": "User", "site_admin": false}}
	}))
	mux.Handle("/", g.apiRules("", func(*http.Request) reply { return notFound() }))
	return mux
}

// reply is a status and a JSON body; nil: no body.
type reply struct {
	status int
	body   any
}

type restHandler func(r *http.Request, scope string) reply

func notFound() reply { return reply{404, message("Not Found")} }

func message(text string) map[string]string {
	return map[string]string{"message": text, "documentation_url": docsURL}
}

// scoped finds the scope of a request. A scope that does not exist is Not Found, like one that the
// token may not see.
func (g *GitHub) scoped(h restHandler) func(*http.Request) reply {
	return func(r *http.Request) reply {
		owner, repo := r.PathValue("owner"), r.PathValue("repo")
		if g.opts.Owner != "" && !strings.EqualFold(owner, g.opts.Owner) ||
			repo != "" && g.opts.Repo != "" && !strings.EqualFold(repo, g.opts.Repo) {
			return notFound()
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		scope := strings.ToLower(kind + "/" + owner)
		if repo != "" {
			scope += "/" + strings.ToLower(repo)
		}
		return h(r, scope)
	}
}

// apiRules applies what surrounds each answer: API faults, authentication, quota, headers,
// conditional requests. accepts is the classic scope that the endpoint checks, or empty.
func (g *GitHub) apiRules(accepts string, h func(*http.Request) reply) http.HandlerFunc {
	return func(plain http.ResponseWriter, r *http.Request) {
		began := worldNow()
		w := &recorder{ResponseWriter: plain}
		defer func() { g.record(r, w.status, began) }()
		if st, on := g.world.faults.find(faultGitHubSlow, ""); on {
			d, _ := time.ParseDuration(st.Value)
			// The server's write timeout must not end an intended delay. A recorder in a test has
			// no deadline to set.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + 10*time.Second))
			select {
			case <-time.After(d):
			case <-r.Context().Done():
				return
			}
		}
		now := worldNow()
		head := w.Header()
		date := now
		if st, on := g.world.faults.find(faultGitHubDate, ""); on {
			d, _ := parseSeconds(st.Value)
			date = now.Add(d)
		}
		head.Set("Date", date.UTC().Format(http.TimeFormat))
		head.Set("Server", "github.com")
		head.Set("X-GitHub-Request-Id", requestID())
		head.Set("X-GitHub-Media-Type", "github.v3; format=json")
		head.Set("X-Content-Type-Options", "nosniff")
		out, raw := g.answer(r, head, accepts, now, h)
		if raw != nil {
			w.WriteHeader(out.status)
			_, _ = w.Write(raw)
			return
		}
		g.send(w, r, out)
	}
}

// answer handles a request. raw is set where the answer is not JSON.
func (g *GitHub) answer(r *http.Request, head http.Header, accepts string, now time.Time, h func(*http.Request) reply) (out reply, raw []byte) {
	if out, raw = g.brokenAnswer(r, head); out.status != 0 {
		return out, raw
	}
	for _, refuse := range []func() reply{
		func() reply { return g.authenticate(r, head, now) },
		func() reply { return g.charge(r, head, now) },
		func() reply { return g.permit(r, head, accepts) },
	} {
		if out = refuse(); out.status != 0 {
			return out, nil
		}
	}
	out = h(r)
	if page, ok := out.body.(paged); ok {
		if page.link != "" {
			head.Set("Link", page.link)
		}
		out.body = page.body
	}
	return out, nil
}

// brokenAnswer applies the faults of the API, and the checks that precede authentication. A reply
// without status: none applies.
func (g *GitHub) brokenAnswer(r *http.Request, head http.Header) (reply, []byte) {
	if st, on := g.world.faults.find(faultGitHub500, ""); on {
		status, err := strconv.Atoi(st.Value)
		if err != nil {
			status = 500
		}
		return reply{status, map[string]string{"message": "Server Error"}}, nil
	}
	if st, on := g.world.faults.find(faultGitHubGarbage, ""); on {
		if st.Value == "truncated" {
			head.Set("Content-Type", "application/json; charset=utf-8")
			return reply{status: 200}, []byte(`{"total_count":2,"runners":[{"id":1,"name":"ci-run`)
		}
		head.Set("Content-Type", "text/html; charset=utf-8")
		return reply{status: 200}, []byte("<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to use this network.</body></html>\n")
	}
	if r.Header.Get("User-Agent") == "" {
		head.Set("Content-Type", "text/html; charset=utf-8")
		return reply{status: 403}, []byte("Request forbidden by administrative rules. Please make sure your request has a User-Agent header.\n")
	}
	if v := r.Header.Get("X-GitHub-Api-Version"); v != "" && v != "2022-11-28" && v != "2026-03-10" {
		return reply{400, message(fmt.Sprintf("%q is not a supported version", v))}, nil
	}
	return reply{}, nil
}

// authenticate checks the token. A reply without status: it is valid.
func (g *GitHub) authenticate(r *http.Request, head http.Header, now time.Time) reply {
	faults, expiry := g.world.faults, g.opts.TokenExpiry
	if st, on := faults.find(faultPATExpiring, ""); on {
		d, _ := time.ParseDuration(st.Value)
		expiry = st.Since.Add(d)
	}
	given := bearer(r)
	if given == "" {
		return reply{401, message("Requires authentication")}
	}
	want, err := g.opts.Token()
	if err != nil {
		g.opts.Logger.Error("read token", "err", err)
		return reply{500, map[string]string{"message": "Server Error"}}
	}
	if faults.is(faultPATLocked, "") {
		return reply{403, message("Maximum number of login attempts exceeded. Please try again later.")}
	}
	if faults.is(faultPATRejected, "") || subtle.ConstantTimeCompare([]byte(given), []byte(want)) != 1 ||
		!expiry.IsZero() && !now.Before(expiry) {
		return reply{401, message("Bad credentials")}
	}
	if !expiry.IsZero() {
		head.Set("GitHub-Authentication-Token-Expiration", expiry.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return reply{}
}

// charge applies the rate limits. A reply without status: none was exceeded.
func (g *GitHub) charge(r *http.Request, head http.Header, now time.Time) reply {
	free := r.URL.Path == "/rate_limit"
	if st, on := g.world.faults.find(faultRateLimited, ""); on && !free {
		status, wait, _ := parseRateLimit(st.Value)
		if status == 403 {
			until := st.Since.Add(wait)
			for !now.Before(until) { // the window restarts as long as the fault is on
				until = until.Add(max(wait, time.Second))
			}
			g.rateHeaders(head, 0, until)
			return reply{403, message("API rate limit exceeded for user ID 1.")}
		}
		g.chargeHeaders(head, now, 0)
		head.Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
		return reply{429, map[string]string{
			"message":           "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
			"documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
		}}
	}
	cost := 1
	if free {
		cost = 0
	}
	if !g.chargeHeaders(head, now, cost) {
		return reply{403, message("API rate limit exceeded for user ID 1.")}
	}
	return reply{}
}

// permit checks the token's scope. A reply without status: it suffices.
func (g *GitHub) permit(r *http.Request, head http.Header, accepts string) reply {
	st, denied := g.world.faults.find(faultPATNoPermission, "")
	if st.Value == "read-only" {
		denied, st.Value = r.Method != http.MethodGet, "fine-grained"
	}
	if st.Value != "fine-grained" {
		scopes := classicScopes
		if denied {
			scopes = "public_repo"
		}
		head.Set("X-OAuth-Scopes", scopes)
		head.Set("X-Accepted-OAuth-Scopes", accepts)
	}
	if !denied || accepts == "" {
		return reply{}
	}
	switch st.Value {
	case "hidden":
		return notFound()
	case "fine-grained":
		access := "read"
		if r.Method != http.MethodGet {
			access = "write"
		}
		head.Set("X-Accepted-GitHub-Permissions", "administration="+access)
		return reply{403, message("Resource not accessible by personal access token")}
	}
	return reply{403, message("Must have admin rights to Repository.")}
}

// paged is a body with a Link header.
type paged struct {
	body any
	link string
}

// send writes a JSON reply. A successful GET carries an ETag, which depends on the token and on the
// body. A matching If-None-Match gets a 304, which is given back to the quota (docs;
// bored-engineer's measurements).
func (g *GitHub) send(w http.ResponseWriter, r *http.Request, out reply) {
	head := w.Header()
	if out.body == nil {
		w.WriteHeader(out.status)
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out.body); err != nil {
		g.opts.Logger.Error("encode answer", "err", err)
	}
	head.Set("Content-Type", "application/json; charset=utf-8")
	if r.Method == http.MethodGet && out.status == 200 && r.URL.Path != "/rate_limit" {
		sum := sha256.New()
		fmt.Fprintf(sum, "%s:%s:%s", r.Header.Get("Accept"), r.Header.Get("Authorization"), r.Header.Get("Cookie"))
		sum.Write(buf.Bytes())
		tag := hex.EncodeToString(sum.Sum(nil))
		head.Set("ETag", `W/"`+tag+`"`)
		head.Set("Cache-Control", "private, max-age=60, s-maxage=60")
		head.Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP,Accept-Encoding, Accept, X-Requested-With")
		if matches(r.Header.Values("If-None-Match"), tag) {
			g.refund(head)
			head.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(buf.Bytes())
}

func matches(values []string, tag string) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			if strings.Trim(strings.TrimPrefix(strings.TrimSpace(one), "W/"), `"`) == tag {
				return true
			}
		}
	}
	return false
}

// chargeHeaders takes cost from the quota and reports whether it sufficed.
func (g *GitHub) chargeHeaders(head http.Header, now time.Time, cost int) bool {
	g.mu.Lock()
	if !now.Before(g.reset) {
		g.used, g.reset = 0, now.Add(time.Hour).Truncate(time.Second)
	}
	ok := g.used+cost <= quota
	if ok {
		g.used += cost
	}
	left, reset := quota-g.used, g.reset
	g.mu.Unlock()
	g.rateHeaders(head, left, reset)
	return ok
}

func (g *GitHub) rateHeaders(head http.Header, left int, reset time.Time) {
	head.Set("X-RateLimit-Limit", strconv.Itoa(quota))
	head.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	head.Set("X-RateLimit-Used", strconv.Itoa(quota-left))
	head.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	head.Set("X-RateLimit-Resource", "core")
}

// refund gives back the cost of a request that became a 304.
func (g *GitHub) refund(head http.Header) {
	g.mu.Lock()
	g.used--
	left, reset := quota-g.used, g.reset
	g.mu.Unlock()
	g.rateHeaders(head, left, reset)
}

// recorder records the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (g *GitHub) record(r *http.Request, status int, began time.Time) {
	if status == 0 {
		return // the client is gone
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests[status]++
	if len(g.calls) >= maxCalls {
		g.calls = slices.Delete(g.calls, 0, 1)
	}
	path := r.URL.Path
	g.calls = append(g.calls, Call{worldNow(), r.Method, path[:min(len(path), 200)], status, worldNow().Sub(began).Seconds()})
}

func (g *GitHub) rateLimit(*http.Request) reply {
	g.mu.Lock()
	left, reset := quota-g.used, g.reset
	g.mu.Unlock()
	core := map[string]any{"limit": quota, "remaining": left, "used": quota - left, "reset": reset.Unix(), "resource": "core"}
	return reply{200, map[string]any{
		"resources": map[string]any{
			"core": core,
			"actions_runner_registration": map[string]any{
				"limit": 10000, "remaining": 10000, "used": 0, "reset": reset.Unix(), "resource": "actions_runner_registration",
			},
		},
		"rate": core,
	}}
}

// runnerJSON is a runner in GitHub's API.
type runnerJSON struct {
	ID        int64       `json:"id"`
	Name      string      `json:"name"`
	OS        string      `json:"os"`
	Status    string      `json:"status"`
	Busy      bool        `json:"busy"`
	Ephemeral bool        `json:"ephemeral"`
	Group     int64       `json:"runner_group_id"`
	Version   string      `json:"version,omitempty"`
	Labels    []labelJSON `json:"labels"`
}

type labelJSON struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

func (w *world) runnerLocked(r *registration, now time.Time) runnerJSON {
	out := runnerJSON{
		ID: r.id, Name: r.name, OS: "unknown", Status: "offline", Busy: w.busyLocked(r), Ephemeral: true, Group: r.group,
		Version: r.version, Labels: []labelJSON{},
	}
	if r.ready {
		out.OS = "linux"
	}
	if w.onlineLocked(r, now) {
		out.Status = "online"
	}
	for i, name := range r.labels {
		kind := "custom"
		if slices.Contains([]string{"self-hosted", "linux", "x64", "arm64"}, strings.ToLower(name)) {
			kind = "read-only"
		}
		out.Labels = append(out.Labels, labelJSON{int64(i + 1), name, kind})
	}
	return out
}

func (g *GitHub) listRunners(r *http.Request, scope string) reply {
	query := r.URL.Query()
	size, page := 30, 1
	if n, err := strconv.Atoi(query.Get("per_page")); err == nil && n > 0 {
		size = min(n, 100)
	}
	if n, err := strconv.Atoi(query.Get("page")); err == nil && n > 0 {
		page = min(n, 1<<20)
	}
	all := g.world.runners(scope, query.Get("name"), worldNow())
	first := min((page-1)*size, len(all))
	out := map[string]any{"total_count": len(all), "runners": all[first:min(first+size, len(all))]}
	return reply{200, paged{out, links(r, page, (len(all)+size-1)/size)}}
}

// runners lists the registrations of a scope, oldest first. name filters; empty: all.
func (w *world) runners(scope, name string, now time.Time) []runnerJSON {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	all := []runnerJSON{}
	for _, reg := range w.regs {
		if reg.scope == scope && (name == "" || reg.name == name) {
			all = append(all, w.runnerLocked(reg, now))
		}
	}
	slices.SortFunc(all, func(a, b runnerJSON) int { return int(a.ID - b.ID) })
	return all
}

// links returns the Link header for a page of a list.
func links(r *http.Request, page, last int) string {
	var out []string
	add := func(n int, rel string) {
		u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		u.RawQuery = q.Encode()
		out = append(out, fmt.Sprintf("<%s>; rel=%q", u.String(), rel))
	}
	if page > 1 {
		add(page-1, "prev")
	}
	if page < last {
		add(page+1, "next")
		add(last, "last")
	}
	if page > 1 {
		add(1, "first")
	}
	return strings.Join(out, ", ")
}

func (g *GitHub) getRunner(r *http.Request, scope string) reply {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	now := worldNow()
	g.world.sweepLocked(now)
	reg := g.world.regs[id]
	if reg == nil || reg.scope != scope {
		return notFound()
	}
	return reply{200, g.world.runnerLocked(reg, now)}
}

func (g *GitHub) deleteRunner(r *http.Request, scope string) reply {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	switch name, err := g.world.unregister(scope, id, worldNow()); {
	case errors.Is(err, errRunning):
		return reply{422, message(`Bad request - Runner "` + name + `" is still running a job"`)}
	case err != nil:
		return notFound()
	}
	return reply{status: 204}
}

// token answers the registration and remove token endpoints. The lab's runners register with JIT
// configurations only, so the token is useless.
func token(*http.Request, string) reply {
	return reply{201, map[string]string{
		"token": "LAB" + rand.Text(), "expires_at": worldNow().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z"),
	}}
}

func (g *GitHub) jitConfig(r *http.Request, scope string) reply {
	var in struct {
		Name       string   `json:"name"`
		GroupID    int64    `json:"runner_group_id"`
		Labels     []string `json:"labels"`
		WorkFolder string   `json:"work_folder"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return reply{400, message("Problems parsing JSON")}
	}
	invalid := func(what string) reply { return reply{422, message("Invalid request.\n\n" + what)} }
	switch {
	case in.Name == "" || len(in.Name) > 64:
		return invalid(`"name" wasn't supplied or has more than 64 characters.`)
	case in.GroupID <= 0:
		return invalid(`"runner_group_id" wasn't supplied.`)
	case len(in.Labels) == 0 || len(in.Labels) > 100:
		return invalid(`"labels" must have 1 to 100 items.`)
	case slices.ContainsFunc(in.Labels, func(l string) bool { return l == "" || len(l) > 256 }):
		return invalid(`"labels" has an item that is empty or too long.`)
	}
	const full = "The number of runners is exceeded."
	if g.world.faults.is(faultJIT422, in.Name) {
		return invalid(full)
	}
	taken := reply{409, message("Already exists - A runner with the name " + in.Name + " already exists.")}
	if g.world.faults.is(faultJIT409, in.Name) {
		return taken
	}
	now := worldNow()
	reg, err := g.world.register(scope, in.Name, in.Labels, in.GroupID, now)
	switch {
	case errors.Is(err, errNameTaken):
		return taken
	case err != nil:
		return invalid(full)
	}
	if in.WorkFolder == "" {
		in.WorkFolder = "_work"
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	blob, err := encodeJIT(runnerSettings{
		AgentID: reg.id, AgentName: reg.name, PoolID: in.GroupID, PoolName: "Default", DisableUpdate: true, Ephemeral: true,
		ServerURL: scheme + r.Host + "/", WorkFolder: in.WorkFolder, UseV2Flow: true, ServerURLV2: scheme + r.Host + "/broker/",
	}, credentials{"OAuth", credentialsData{reg.clientID, scheme + r.Host + "/broker/token", "False"}}, g.key)
	if err != nil {
		g.opts.Logger.Error("make JIT configuration", "err", err)
		return reply{500, map[string]string{"message": "Server Error"}}
	}
	g.mu.Lock()
	g.jits = append(g.jits[max(0, len(g.jits)+1-maxHandedOut):], blob)
	g.mu.Unlock()
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	return reply{201, map[string]any{"runner": g.world.runnerLocked(reg, now), "encoded_jit_config": blob}}
}

// requestID imitates GitHub's: five groups of hexadecimal digits.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%X:%X:%X:%X:%X", b[0:2], b[2:5], b[5:9], b[9:12], b[12:16])
}
