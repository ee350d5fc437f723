package lab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func decode(text []byte, out any) error { return json.Unmarshal(text, out) }

const runners = "/repos/o/r/actions/runners"

func TestRESTAPI(t *testing.T) {
	jit := func(fields string) string { return `{"name":"x-1","runner_group_id":1,"labels":["a"]` + fields + `}` }
	for _, c := range []struct {
		title        string
		fault, value string
		method, path string
		body         string
		header       http.Header
		status       int
		contains     string
		wantHeader   map[string]string
	}{
		{title: "empty list", path: runners, status: 200, contains: `"total_count":0`, wantHeader: map[string]string{
			"X-OAuth-Scopes": classicScopes, "X-Accepted-OAuth-Scopes": "repo", "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999",
			"Cache-Control": "private, max-age=60, s-maxage=60",
		}},
		{title: "organization", path: "/orgs/o/actions/runners", status: 200, wantHeader: map[string]string{"X-Accepted-OAuth-Scopes": "admin:org"}},
		{title: "enterprise", path: "/enterprises/o/actions/runners", status: 200},
		{title: "enterprise server's prefix", path: "/api/v3" + runners, status: 200},
		{title: "user", path: "/user", status: 200, contains: `"login":"o"`},
		{title: "rate limit is free", path: "/rate_limit", status: 200, contains: `"remaining":5000`},
		{title: "other repository", path: "/repos/o/other/actions/runners", status: 404, contains: "Not Found"},
		{title: "trailing slash", path: runners + "/", status: 404},
		{title: "no runner", path: runners + "/7", status: 404},
		{title: "no runner to delete", method: "DELETE", path: runners + "/7", status: 404},
		{title: "registration token", method: "POST", path: runners + "/registration-token", status: 201, contains: `"expires_at":`},
		{title: "remove token", method: "POST", path: "/orgs/o/actions/runners/remove-token", status: 201, contains: `"token":`},
		{title: "jit", method: "POST", path: runners + "/generate-jitconfig", body: jit(""), status: 201, contains: `"status":"offline"`},
		{title: "jit without group", method: "POST", path: runners + "/generate-jitconfig", body: `{"name":"x","labels":["a"]}`, status: 422},
		{title: "jit without labels", method: "POST", path: runners + "/generate-jitconfig", body: `{"name":"x","runner_group_id":1}`, status: 422},
		{title: "jit garbage", method: "POST", path: runners + "/generate-jitconfig", body: `{`, status: 400},
		{title: "jit elsewhere", method: "POST", path: "/orgs/p/actions/runners/generate-jitconfig", body: jit(""), status: 404},
		{title: "jit taken", fault: faultJIT409, method: "POST", path: runners + "/generate-jitconfig", body: jit(""), status: 409},
		{title: "wrong token", path: runners, header: http.Header{"Authorization": {"Bearer x"}}, status: 401, contains: "Bad credentials"},
		{title: "no token", path: runners, header: http.Header{"Authorization": {}}, status: 401},
		{title: "old scheme", path: runners, header: http.Header{"Authorization": {"token " + testToken}}, status: 200},
		{title: "no user agent", path: runners, header: http.Header{"User-Agent": {""}}, status: 403, contains: "administrative rules"},
		{title: "unknown version", path: runners, header: http.Header{"X-Github-Api-Version": {"1999-01-01"}}, status: 400},
		{title: "rejected", fault: faultPATRejected, path: runners, status: 401, contains: "Bad credentials"},
		{title: "locked", fault: faultPATLocked, path: runners, status: 403, contains: "login attempts"},
		{title: "no permission", fault: faultPATNoPermission, path: runners, status: 403, contains: "Must have admin rights to Repository.",
			wantHeader: map[string]string{"X-OAuth-Scopes": "public_repo", "X-Accepted-OAuth-Scopes": "repo"}},
		{title: "no permission, fine-grained", fault: faultPATNoPermission, value: "fine-grained", path: runners, status: 403,
			contains:   "Resource not accessible by personal access token",
			wantHeader: map[string]string{"X-Accepted-GitHub-Permissions": "administration=read", "X-OAuth-Scopes": ""}},
		{title: "no permission, hidden", fault: faultPATNoPermission, value: "hidden", path: runners, status: 404},
		{title: "no permission, user", fault: faultPATNoPermission, path: "/user", status: 200},
		{title: "expired", fault: faultPATExpiring, value: "-1s", path: runners, status: 401},
		{title: "secondary limit", fault: faultRateLimited, path: runners, status: 429, contains: "secondary rate limit", wantHeader: map[string]string{"Retry-After": "60"}},
		{title: "primary limit", fault: faultRateLimited, value: "403:5", path: runners, status: 403, contains: "API rate limit exceeded",
			wantHeader: map[string]string{"X-RateLimit-Remaining": "0", "Retry-After": ""}},
		{title: "500", fault: faultGitHub500, path: runners, status: 500},
		{title: "503", fault: faultGitHub500, value: "503", path: runners, status: 503},
		{title: "garbage", fault: faultGitHubGarbage, path: runners, status: 200, contains: "<html>", wantHeader: map[string]string{"Content-Type": "text/html; charset=utf-8"}},
		{title: "truncated", fault: faultGitHubGarbage, value: "truncated", path: runners, status: 200},
	} {
		t.Run(c.title, func(t *testing.T) {
			t.Parallel()
			b := newTestGitHub(t)
			if c.fault != "" {
				b.fault(c.fault, true, c.value)
			}
			if c.method == "" {
				c.method = http.MethodGet
			}
			resp := b.request(c.method, c.path, c.body, c.header, nil)
			if resp.status != c.status || !strings.Contains(resp.text, c.contains) {
				t.Errorf("got %d %s, want %d with %q", resp.status, resp.text, c.status, c.contains)
			}
			for k, want := range c.wantHeader {
				if got := resp.header.Get(k); got != want {
					t.Errorf("%s: %q, want %q", k, got, want)
				}
			}
			for _, k := range []string{"Date", "X-GitHub-Request-Id"} {
				if resp.header.Get(k) == "" {
					t.Errorf("no %s", k)
				}
			}
			if got := b.gh.State().Requests[strconv.Itoa(c.status)]; got != 1 {
				t.Errorf("counted %d answers of %d", got, c.status)
			}
		})
	}
}

// TestPagingAndNameFilter reads three pages, and a list filtered by name.
func TestPagingAndNameFilter(t *testing.T) {
	b := newTestGitHub(t)
	for i := range 5 {
		b.jit(fmt.Sprintf("s-%d", i))
	}
	var page struct {
		Total   int          `json:"total_count"`
		Runners []runnerJSON `json:"runners"`
	}
	next := runners + "?per_page=2"
	var names []string
	for next != "" {
		page.Runners = nil
		resp := b.request(http.MethodGet, next, "", nil, &page)
		for _, r := range page.Runners {
			names = append(names, r.Name)
		}
		next = ""
		for link := range strings.SplitSeq(resp.header.Get("Link"), ", ") {
			if u, ok := strings.CutSuffix(link, `>; rel="next"`); ok {
				next = strings.TrimPrefix(u, "<http://"+strings.TrimPrefix(b.url, "http://"))
			}
		}
	}
	if got := strings.Join(names, " "); got != "s-0 s-1 s-2 s-3 s-4" || page.Total != 5 {
		t.Errorf("read %q of %d", got, page.Total)
	}
	b.request(http.MethodGet, runners+"?name=s-3", "", nil, &page)
	if len(page.Runners) != 1 || page.Runners[0].Name != "s-3" {
		t.Errorf("filtered %+v", page.Runners)
	}
}

// A 304 costs nothing, and the ETag depends on the token and the body.
func TestConditionalRequestsAreFree(t *testing.T) {
	b := newTestGitHub(t)
	first := b.request(http.MethodGet, runners, "", nil, nil)
	tag := first.header.Get("ETag")
	again := b.request(http.MethodGet, runners, "", http.Header{"If-None-Match": {tag}}, nil)
	if again.status != 304 || again.header.Get("X-RateLimit-Remaining") != "4999" || again.header.Get("Date") == "" {
		t.Errorf("second: %d, remaining %s", again.status, again.header.Get("X-RateLimit-Remaining"))
	}
	other := b.request(http.MethodGet, runners, "", http.Header{"If-None-Match": {tag}, "Authorization": {"token " + testToken}}, nil)
	if other.status != 200 {
		t.Errorf("other authorization: %d", other.status)
	}
	b.jit(name)
	changed := b.request(http.MethodGet, runners, "", http.Header{"If-None-Match": {tag}}, nil)
	if changed.status != 200 || changed.header.Get("ETag") == tag {
		t.Errorf("changed: %d %s", changed.status, changed.header.Get("ETag"))
	}
}

// The Date header can be wrong, and the token's expiry is announced.
func TestDateAndExpiryHeaders(t *testing.T) {
	b := newTestGitHub(t)
	b.fault(faultGitHubDate, true, "-3600")
	b.fault(faultPATExpiring, true, "72h")
	resp := b.request(http.MethodGet, runners, "", nil, nil)
	date, err := http.ParseTime(resp.header.Get("Date"))
	if d := time.Since(date); err != nil || d < 3590*time.Second || d > 3610*time.Second {
		t.Errorf("Date is %s behind: %v", d, err)
	}
	expiry, err := time.Parse("2006-01-02 15:04:05 MST", resp.header.Get("GitHub-Authentication-Token-Expiration"))
	if d := time.Until(expiry); err != nil || d < 71*time.Hour || d > 73*time.Hour {
		t.Errorf("expires in %s: %v", d, err)
	}
}

// A runner with a job is online and busy and cannot be deleted, even if the API reports otherwise.
func TestBusyRunnerCannotBeDeleted(t *testing.T) {
	b := newTestGitHub(t)
	p := b.start("", b.jit(name))
	b.queue("long", time.Hour, "Succeeded")
	p.diagSays("Send job request message")
	var r runnerJSON
	b.request(http.MethodGet, runners+"/1", "", nil, &r)
	if r.Status != "online" || !r.Busy || r.OS != "linux" || r.Version != RunnerVersion {
		t.Errorf("runner %+v", r)
	}
	b.fault(faultBusyLie, true, "")
	b.request(http.MethodGet, runners+"/1", "", nil, &r)
	if r.Busy {
		t.Error("busy-lie did not lie")
	}
	resp := b.request(http.MethodDelete, runners+"/1", "", nil, nil)
	if want := `Bad request - Runner \"` + name + `\" is still running a job\""`; resp.status != 422 || !strings.Contains(resp.text, want) {
		t.Errorf("delete: %d %s", resp.status, resp.text)
	}
}

// A deleted registration is gone, and its name can be used again.
func TestDeleteFreesName(t *testing.T) {
	b := newTestGitHub(t)
	b.jit(name)
	body := `{"name":"` + name + `","runner_group_id":1,"labels":["a"]}`
	if resp := b.request(http.MethodPost, runners+"/generate-jitconfig", body, nil, nil); resp.status != 409 {
		t.Errorf("name taken: %d", resp.status)
	}
	if resp := b.request(http.MethodDelete, runners+"/1", "", nil, nil); resp.status != 204 {
		t.Errorf("delete: %d", resp.status)
	}
	if resp := b.request(http.MethodDelete, runners+"/1", "", nil, nil); resp.status != 404 {
		t.Errorf("delete again: %d", resp.status)
	}
	b.jit(name)
}

// The JIT configuration has three files, settings with a BOM, and the lab's address.
func TestJITConfiguration(t *testing.T) {
	b := newTestGitHub(t)
	blob := b.jit(name)
	b.jit("another")
	if configs, err := NewClient(b.url).JITConfigs(t.Context()); err != nil || len(configs) != 2 || configs[0] != blob {
		t.Errorf("%d were handed out, want this one and another (%v)", len(configs), err)
	}
	raw, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	var files map[string]string
	if err := json.Unmarshal(raw, &files); err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Errorf("%d files", len(files))
	}
	text, err := base64.StdEncoding.DecodeString(files[".runner"])
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := strings.CutPrefix(string(text), bom)
	if !ok {
		t.Error("no BOM")
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(settings), &got); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{
		"agentId": 1.0, "agentName": name, "ephemeral": true, "disableUpdate": true, "useV2Flow": true, "workFolder": "_work",
		"serverUrlV2": b.url + "/broker/",
	} {
		if got[k] != want {
			t.Errorf("%s: %v, want %v", k, got[k], want)
		}
	}
}

// TestLabAPIRefusals checks what the control API refuses.
func TestLabAPIRefusals(t *testing.T) {
	b := newTestGitHub(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"POST", "/lab/v1/jobs", `{"name":"a","duration":"3s","result":"Failed","runner":"s"}`, 201, `"wanted":"Failed"`},
		{"POST", "/lab/v1/jobs", `{"duration":"long"}`, 400, "duration"},
		{"POST", "/lab/v1/jobs", `{"result":"Great"}`, 400, "Succeeded"},
		{"POST", "/lab/v1/jobs", `{"nme":"a"}`, 400, "nme"},
		{"DELETE", "/lab/v1/jobs", ``, 204, ""},
		{"GET", "/lab/v1/faults", ``, 200, `"name":"retry-loop"`},
		{"GET", "/lab/v1/faults/nope", ``, 404, "unknown fault"},
		{"PUT", "/lab/v1/faults/deaf?runner=s", `{"on":true}`, 200, `"on":true`},
		{"GET", "/lab/v1/faults/deaf?runner=s-abc", ``, 200, `"on":true`},
		{"GET", "/lab/v1/faults/deaf?runner=s2-abc", ``, 200, `"on":false`},
		{"PUT", "/lab/v1/faults/pat-rejected?runner=s", `{"on":true}`, 400, "takes no runner"},
		{"PUT", "/lab/v1/faults/pat-rejected", `{"on":true,"value":"x"}`, 400, "takes no value"},
		{"PUT", "/lab/v1/faults/clock-offset", `{"on":true,"value":"NaN"}`, 400, "number of seconds"},
		{"PUT", "/lab/v1/faults/clock-offset", `{"on":true}`, 400, "number of seconds"},
		{"GET", "/lab/v1/nothing", ``, 404, "manual"},
	} {
		resp := b.request(c.method, c.path, c.body, nil, nil)
		if resp.status != c.status || !strings.Contains(resp.text, c.contains) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, resp.status, resp.text)
		}
	}
}

// Each fault has a unique name and a description.
func TestFaultsHaveNamesAndDescriptions(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Faults() {
		if seen[f.Name] || f.Effect == "" || !strings.HasSuffix(f.Effect, ".") {
			t.Errorf("%s: double, or no sentence: %q", f.Name, f.Effect)
		}
		if (f.Value == "") != (f.check == nil) {
			t.Errorf("%s: a value and its meaning belong together", f.Name)
		}
		seen[f.Name] = true
	}
}

// Jobs that are not acquired return to the queue; those whose lock expires are abandoned.
func TestUnacquiredJobsReturnToQueue(t *testing.T) {
	w := newWorld(1, 30*time.Second)
	now := time.Now()
	reg, err := w.register("s", name, nil, 1, now)
	if err != nil {
		t.Fatal(err)
	}
	reg.session = &session{seen: now}
	if _, err := w.enqueue(Job{Name: "a"}, now); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.takeLocked(reg, now)
	w.sweepLocked(now.Add(pickUp))
	if reg.job != j {
		t.Error("requeued too early")
	}
	w.sweepLocked(now.Add(pickUp + 1))
	if reg.job != nil || len(w.queued) != 1 || w.takeLocked(reg, now) != nil {
		t.Error("not requeued, or handed to the same ephemeral runner again")
	}
	reg.used = false
	j = w.takeLocked(reg, now)
	j.Acquired, j.locked = now, now.Add(lockFor)
	w.sweepLocked(now.Add(lockFor))
	if len(w.completed) != 0 {
		t.Error("abandoned too early")
	}
	w.sweepLocked(now.Add(lockFor + 1))
	if len(w.completed) != 1 || w.completed[0].Result != "Abandoned" || len(w.regs) != 0 {
		t.Errorf("completed %+v", w.completed)
	}
}

// The faults of a job are fixed when it is handed out: they can then be switched off without
// affecting it.
func TestJobFaultsAreFixedAtHandOut(t *testing.T) {
	w := newWorld(1, time.Minute)
	set := func(on bool) {
		t.Helper()
		if _, err := w.faults.set(faultDeaf, "s", on, "job", time.Now()); on && err != nil {
			t.Fatal(err)
		}
	}
	reg, err := w.register("repos/o/r", "s-1", []string{"l"}, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.enqueue(Job{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	deaf := func() bool { return w.listenerFaults("s-1").Get(faultDeaf) == "job" }
	set(true)
	before := deaf()
	w.takeLocked(reg, time.Now())
	set(false)
	handedOut := deaf()
	set(true)
	w.finishLocked(reg, "Abandoned", time.Now())
	if after := deaf(); before || !handedOut || after {
		t.Errorf("deaf before %v, with the job %v, after it %v", before, handedOut, after)
	}
}
