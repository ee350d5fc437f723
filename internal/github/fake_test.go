package github

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const testToken = "ghp_TestTokenThatMustNeverBeSeen0123456789"

// fakeRunner is a runner as the REST API writes it.
type fakeRunner struct {
	ID     int64               `json:"id"`
	Name   string              `json:"name"`
	OS     string              `json:"os"`
	Status string              `json:"status"`
	Busy   bool                `json:"busy"`
	Labels []map[string]string `json:"labels"`
}

// fakeGitHub serves lists with pages, ETags that depend on the token, quota and credential headers.
// If before returns true it has answered instead.
type fakeGitHub struct {
	mu        sync.Mutex
	token     string
	runners   []fakeRunner
	header    map[string]string
	noLink    bool
	maxSize   int // of a page, 0: as asked for
	before    func(w http.ResponseWriter, r *http.Request) bool
	counted   int // requests that cost quota
	requests  []string
	skew      time.Duration
	onRequest func(r *http.Request)
}

func newFakeGitHub(runners int) *fakeGitHub {
	f := &fakeGitHub{token: testToken, header: map[string]string{}}
	for i := range runners {
		f.runners = append(f.runners, fakeRunner{
			ID: int64(i + 1), Name: fmt.Sprintf("ci-runner-%04d", i+1), OS: "Linux", Status: "online",
			Labels: []map[string]string{{"name": "self-hosted", "type": "read-only"}, {"name": "linux", "type": "custom"}},
		})
	}
	return f
}

func (f *fakeGitHub) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeGitHub) count() (counted, all int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counted, len(f.requests)
}

func (f *fakeGitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.Method+" "+r.URL.RequestURI())
	if f.onRequest != nil {
		f.onRequest(r)
	}
	w.Header().Set("Date", time.Now().Add(f.skew).UTC().Format(http.TimeFormat))
	w.Header().Set("X-GitHub-Request-Id", "ABCD:1234")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for k, v := range f.header {
		w.Header().Set(k, v)
	}
	if f.before != nil && f.before(w, r) {
		f.counted++
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+f.token {
		f.counted++
		fail(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/actions/runners") {
		f.counted++
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	if f.maxSize > 0 {
		size = f.maxSize
	}
	from := min((page-1)*size, len(f.runners))
	to := min(from+size, len(f.runners))
	list := append([]fakeRunner{}, f.runners[from:to]...)
	body, _ := json.Marshal(map[string]any{"total_count": len(f.runners), "runners": list})
	etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256([]byte(r.Header.Get("Authorization")+r.Header.Get("Accept")+string(body))))
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "private, max-age=60, s-maxage=60")
	if r.Header.Get("If-None-Match") == etag {
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	f.counted++
	if to < len(f.runners) && !f.noLink {
		w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?per_page=%d&page=%d>; rel="next"`, r.Host, r.URL.Path, size, page+1))
	}
	_, _ = w.Write(body)
}

func fail(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
}

// direct is a network without sockets, for bubbles of synctest.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	d.h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func mustScope(t testing.TB, s string) Scope {
	t.Helper()
	scope, err := ParseScope(s)
	if err != nil {
		t.Fatal(err)
	}
	return scope
}

func staticToken(s string) func() (string, error) { return func() (string, error) { return s, nil } }

// newClient talks to h over a real socket.
func newClient(t testing.TB, h http.Handler, change func(*Options)) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	o := Options{
		APIURL: srv.URL, Token: staticToken(testToken), Timeout: time.Minute,
		Scopes: []Scope{mustScope(t, "octo/hello")}, Transport: newTransport(),
	}
	if change != nil {
		change(&o)
	}
	t.Cleanup(func() {
		if tr, ok := o.Transport.(*http.Transport); ok {
			tr.CloseIdleConnections()
		}
	})
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
